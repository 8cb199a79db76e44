"""Looks at every node of a job before anything long runs on it, and says in under 30 seconds what
would go wrong and the remedy.

    mpirun -np 2 python -m benchmarks.preflight --out DIR --data FILE

Start it as the job itself will be started: the same launcher, image, ranks and devices. Every rank
gathers facts about its node (preflight_facts.py); rank 0 judges all of them
(preflight_judgement.py), prints a table and writes DIR/result.json, whose `tables.checks` has a row
{host, check, status, found, expected, remedy} for each check of each node. Exit code 0: no check
failed; 1: at least one did; 2: a mistake in the options.
"""

import dataclasses
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.preflight import binding
from benchmarks.preflight import facts as look
from benchmarks.preflight.judgement import (
    FAIL,
    PASS,
    WARN,
    PreflightConfig,
    judge,
    judge_duration,
    judge_launch,
    judge_software,
    judge_world,
    row,
    table,
)
from bigearth import cli, files, launcher, provenance, record
from bigearth.errors import InputError, together

ENVIRONMENT = dict(os.environ)  # as the launcher made it: MPI_Init adds variables of its own
# seconds a rank waits before it ends with an error, so that the others have reported before the
# launcher stops them
GRACE = 3.0


class Step:
    """What this rank is doing now, and a timer that ends the job, with the reason, when that takes
    too long."""

    def __init__(self, config: PreflightConfig, start: str):
        self._config, self._start, self._expired = config, start, False
        self._began = time.monotonic()
        self._timer = None
        self.begin("starting")

    def begin(self, name: str):
        """The next step; the one before it has ended in time."""
        if self._timer:
            self.done()
        self.name = name
        self._timer = threading.Timer(self._config.time_limit, self._give_up)
        self._timer.daemon = True
        self._timer.start()

    def _give_up(self):
        self._expired = True
        host = socket.gethostname()
        found = f"'{self.name}' not finished after {self._config.time_limit:g} s"
        remedy = (
            "a rank that is missing, a network that drops large messages, or a file system that "
            "hangs: run again with two ranks on "
            "one node, then on two nodes; in images started without set-uid, "
            "OMPI_MCA_btl_vader_single_copy_mechanism=none"
        )
        line = row(host, self.name, FAIL, found=found, expected="an answer", remedy=remedy)
        print(
            f"preflight: rank {launcher.rank()} on {host}: {found}",
            file=sys.stderr,
            flush=True,
        )
        try:
            if launcher.rank() == 0:
                finish(self._config, self._start, [line], facts=[])
            time.sleep(GRACE)
        finally:
            os._exit(1)

    def done(self):
        """Stops the timer; if it was quicker, waits for it to end the job: what it has said
        stands."""
        self._timer.cancel()
        if self._expired:
            self._timer.join()

    def seconds(self) -> float:
        """Since the first step began."""
        return time.monotonic() - self._began


def finish(config: PreflightConfig, start: str, rows: list, facts: list) -> int:
    """Prints the table, writes the record, and returns the exit code; rank 0 only."""
    counts = {
        status: sum(line["status"] == status for line in rows) for status in (PASS, WARN, FAIL)
    }
    print(table(rows), flush=True)
    print(
        "preflight: " + ", ".join(f"{count} {status}" for status, count in counts.items()),
        flush=True,
    )
    ranks = [
        {
            "rank": f["rank"],
            "hostname": f["hostname"],
            "device": ", ".join(f["devices"]["names"]) or "CPU",
        }
        for f in facts
    ]
    digest = next((f["data"]["digest"] for f in facts if f["data"] and "digest" in f["data"]), None)
    nodes = [f["hostname"] for f in facts] or [socket.gethostname()]
    path = Path(config.out) / "result.json"
    record.write(
        path,
        record.Record(
            workload="preflight",
            config=dataclasses.asdict(config),
            metrics={},
            ranks=ranks,
            tables={"checks": rows},
            files={},
            provenance=provenance.gather(start, nodes, digest, checks=counts),
            repeats=cli.repeats(type(config)),
        ),
    )
    return 1 if counts[FAIL] else 0


def load(communicator) -> list:
    """Loads TensorFlow and, with more than one rank, Horovod: a row for each node."""
    error = None
    try:
        import tensorflow  # noqa: F401

        if communicator.size > 1:
            import horovod.tensorflow  # noqa: F401
    except Exception as problem:  # a broken installation fails in many ways
        error = f"{type(problem).__name__}: {problem}".splitlines()[0]
    errors = {}
    for host, found in communicator.allgather((socket.gethostname(), error)):
        errors[host] = errors.get(host) or found
    return [judge_software(host, found) for host, found in errors.items()]


def probe(config: PreflightConfig, communicator, step: Step) -> dict:
    """Everything this rank can find out; the same collective calls on every rank."""
    os.environ.setdefault("NCCL_DEBUG", "INFO")

    # kept open: NCCL writes it until the program ends
    log = tempfile.NamedTemporaryFile(prefix="nccl.", suffix=".log")  # noqa: SIM115
    os.environ.setdefault("NCCL_DEBUG_FILE", log.name)
    import tensorflow as tf

    from bigearth.learn import collective

    step.begin("devices")
    host = socket.gethostname()
    hosts = communicator.allgather(host)
    cards = binding.cuda_devices()
    devices = look.probe_devices(tf, cards)
    local_rank = hosts[: communicator.rank].count(host)
    collective.own_gpu(local_rank)
    step.begin("all-reduce")
    right = look.probe_all_reduce(communicator, collective.connect())
    step.begin("data file")
    leader = hosts.index(host)  # one rank looks at what all ranks of a node share
    data = look.probe_data(config.data) if config.data and communicator.rank == leader else None
    step.begin("clock")
    offsets = {}
    for other in sorted({hosts.index(name) for name in hosts} - {0}):
        if communicator.rank in (0, other):
            offsets[hosts[other]] = look.clock_offset(communicator, other)
    offsets = communicator.bcast(offsets)
    step.begin("versions")
    found = provenance.gather("", [host], None)
    versions = {
        **found["packages"],
        **found["libraries"],
        "image": found["image_digest"],
        "code": found["git_commit"],
    }
    versions.update({key: found[key] for key in ("python", "kernel", "processor")})
    return {
        "rank": communicator.rank,
        "hostname": host,
        "devices": devices,
        "all_reduce": right,
        "nccl": look.network_used(Path(log.name).read_text()),
        "data": data,
        "room": look.probe_room(config.scratch),
        "binding": binding.probe(local_rank, cards if devices["ids"] else []),
        "clock": offsets.get(host, 0.0),
        "versions": versions,
    }


def alone(config: PreflightConfig, start: str, rows: list, first: bool) -> int:
    """Ends ranks that cannot talk to each other: the launcher's first process reports for all."""
    if first:
        return finish(config, start, rows, facts=[])
    time.sleep(GRACE)
    return 1


def run(config: PreflightConfig) -> int:
    """Probes, judges, reports; the exit code is the same on every rank."""
    start = provenance.now()
    step = Step(config, start)
    host, launch = socket.gethostname(), look.launcher(ENVIRONMENT)
    first = launcher.rank() == 0
    import mpi4py

    # MPI_Init only after the launcher is known to fit
    mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
    from mpi4py import MPI

    verdict = judge_launch(host, launch, MPI.Get_library_version())
    if verdict["status"] == FAIL:
        return alone(config, start, [verdict], first=first)
    step.begin("MPI_Init")
    MPI.Init_thread()
    communicator = MPI.COMM_WORLD
    world = judge_world(host, launch, communicator.size)
    if world["status"] == FAIL:
        return alone(config, start, [verdict, world], first=first)
    with together(communicator.allgather):
        if config.data_digest and not config.data:
            raise InputError(
                "command line: --data-digest without --data; give the file whose digest it is"
            )
        if first:
            files.make_folder(config.out)
    step.begin("loading TensorFlow")
    rows, facts = [verdict, world, *load(communicator)], []
    if all(line["status"] == PASS for line in rows):
        facts = communicator.gather(probe(config, communicator, step))
        rows += [*judge(facts, config), judge_duration(step.seconds())] if first else []
    step.done()
    code = finish(config, start, rows, facts=facts) if first else None
    return communicator.bcast(code)


if __name__ == "__main__":
    cli.main(
        PreflightConfig,
        run,
        cli.Program(
            module="benchmarks.preflight",
            description="Look at every node of a job before anything long runs on it.",
        ),
    )
