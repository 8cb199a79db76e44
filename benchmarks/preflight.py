"""Looks at every node of a job before anything long runs on it, and says in under 30 seconds what would go wrong and the remedy.

    mpirun -np 2 python -m benchmarks.preflight --output DIR --data FILE

Start it as the job itself will be started: the same launcher, image, ranks and devices. Every rank gathers facts about its
node (`probe_*`); rank 0 judges all of them (`judge_*`, pure functions of the facts), prints a table and writes DIR/result.json,
whose `tables.checks` has a row {host, check, status, found, expected, remedy} for each check of each node. Exit code 0: no check
failed; 1: at least one did; 2: a mistake in the options.
"""

import dataclasses
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Literal, Optional

from benchmarks import program, record
from benchmarks.program import option
from bigearth.errors import InputError, disk_error, together

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"
ENVIRONMENT = dict(os.environ)  # as the launcher made it: MPI_Init adds variables of its own
REDUCED = 2**20  # elements of the test all-reduce: 8 MB, enough to leave the transports' short-message path
SAMPLED = 32  # patches of the data file whose checksum is computed again, evenly spread
GRACE = 3.0  # seconds a rank waits before it ends with an error, so that the others have reported before the launcher stops them
MINIMUM_DRIVER = {11: (450, 80), 12: (525, 60), 13: (580, 65)}  # NVIDIA, "CUDA Compatibility": by CUDA major version


@dataclasses.dataclass(frozen=True)
class PreflightConfig:
    output: str = option("results/preflight", "folder for result.json")
    nodes: Optional[int] = option(None, "nodes the job must have")
    ranks: Optional[int] = option(None, "ranks the job must have")
    devices_per_node: int = option(0, "GPUs each node must show")
    gpu_arch: Optional[str] = option(None, "architecture of those GPUs, e.g. sm_70")
    network: Literal["any", "infiniband"] = option("any", "what NCCL must use between nodes")
    data: Optional[str] = option(None, "HDF5 file that the job will read")
    data_digest: Optional[str] = option(None, "content digest it must have (sha256:...)")
    image_digest: Optional[str] = option(None, "digest of the image the job must run in (sha256:...)")
    cores_per_node: int = option(1, "cores each node must offer the job")
    memory_gb: float = option(2.0, "memory each node must have, GB")
    scratch: str = option(tempfile.gettempdir(), "folder for node-local temporary files")
    scratch_gb: float = option(1.0, "free space there, GB")
    shm_gb: float = option(0.25, "free space in /dev/shm, GB: MPI and NCCL exchange data of one node's ranks there")
    clock_skew: float = option(0.5, "how far the nodes' clocks may differ, s")
    time_limit: float = option(30.0, "seconds after which a check that hangs is reported and the job ends")


def row(host: str, check: str, status: str, found, expected="", remedy: str = "") -> dict:
    """One row of the table."""
    return {"host": host, "check": check, "status": status, "found": str(found), "expected": str(expected), "remedy": remedy}


# ---- the launcher ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Launcher:
    """What started this process, as its environment tells: how many processes, and in which family's language (PMI)."""

    name: str
    size: int
    speaks: tuple  # MPI families that understand it; empty: none can


def launcher(environ: dict) -> Launcher:
    """The launcher from its environment variables; none is a launcher of one process."""

    def number(*names):
        return next((int(environ[n]) for n in names if environ.get(n, "").isdigit()), None)

    if number("OMPI_COMM_WORLD_SIZE"):
        return Launcher("mpirun of Open MPI", number("OMPI_COMM_WORLD_SIZE"), ("Open MPI",))
    if number("MV2_COMM_WORLD_SIZE"):
        return Launcher("mpirun of MVAPICH", number("MV2_COMM_WORLD_SIZE"), ("MPICH",))
    tasks = number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    if "PMIX_RANK" in environ:
        return Launcher("srun with PMIx" if tasks else "a launcher with PMIx", tasks or number("PMI_SIZE") or 1, ("Open MPI", "MPICH"))
    if number("PMI_SIZE"):
        name = "srun with PMI-2" if tasks else "mpirun of MPICH or Intel MPI"
        return Launcher(name, number("PMI_SIZE"), ("MPICH",))
    if tasks and tasks > 1:
        return Launcher("Slurm without PMI (no srun, or srun --mpi=none)", tasks, ())
    return Launcher("none", 1, ("Open MPI", "MPICH"))


def family(library_version: str) -> str:
    """The family of an MPI library, from the text of MPI_Get_library_version: within one, launcher and library understand each other."""
    if "Open MPI" in library_version:
        return "Open MPI"
    if any(name in library_version for name in ("MPICH", "MVAPICH", "Intel(R) MPI", "CRAY")):
        return "MPICH"
    return library_version.split("\n")[0] or "unknown"


def judge_launch(host: str, launch: Launcher, library: str) -> dict:
    """Can the launcher and the MPI library agree at all? Asked before MPI_Init, which would abort or quietly start alone."""
    if launch.size == 1 or family(library) in launch.speaks:
        return row(host, "launcher", PASS, f"{launch.name}, {family(library)} library")
    if not launch.speaks:
        remedy = "start the program with `srun --mpi=pmix` or with the mpirun of the library's family"
    elif "srun" in launch.name:
        remedy = "start with `srun --mpi=pmix`"
    else:
        remedy = f"load the host's {family(library)} module, or take an image with the host's MPI family"
    return row(host, "launcher", FAIL, f"{launch.name}, but the MPI library is {family(library)}", "the same MPI family", remedy)


def judge_world(host: str, launch: Launcher, size: int) -> dict:
    """Does MPI's world have as many ranks as the launcher started processes?"""
    if size == launch.size:
        return row(host, "world", PASS, f"{size} ranks", f"{launch.size} ranks")
    found = f"{launch.size} worlds of size 1" if size == 1 else f"a world of size {size}"
    remedy = (
        "the MPI (PMI) of the launcher and of the program do not understand each other: use a launcher of the library's family and "
        "version, and with srun --mpi=pmix; inside an image, pass the launcher's environment through (no --cleanenv)"
    )
    return row(
        host, "world", FAIL, f"{launch.name} started {launch.size} processes and MPI made {found}", f"one world of {launch.size}", remedy
    )


# ---- facts of one rank ------------------------------------------------------------------------------------------------------


class Step:
    """What this rank is doing now, and a timer that ends the job, with the reason, when it takes too long."""

    def __init__(self, config: PreflightConfig, start: str):
        self.name = "starting"
        self._config, self._start, self._expired = config, start, False
        self._timer = threading.Timer(config.time_limit, self._give_up)
        self._timer.daemon = True
        self._timer.start()

    def _give_up(self):
        self._expired = True
        host = socket.gethostname()
        found = f"'{self.name}' not finished after {self._config.time_limit:g} s"
        remedy = (
            "a rank that is missing, a network that drops large messages, or a file system that hangs: run again with two ranks on "
            "one node, then on two nodes; in images started without set-uid, OMPI_MCA_btl_vader_single_copy_mechanism=none"
        )
        line = row(host, self.name, FAIL, found, "an answer", remedy)
        print(f"preflight: rank {program.launcher_rank()} on {host}: {found}", file=sys.stderr, flush=True)
        try:
            if program.launcher_rank() == 0:
                finish(self._config, self._start, [line], [])
            time.sleep(GRACE)
        finally:
            os._exit(1)

    def done(self):
        """Stops the timer; if it was quicker, waits for it to end the job: what it has said stands."""
        self._timer.cancel()
        if self._expired:
            self._timer.join()


def probe_devices(tf) -> dict:
    """The GPUs this rank sees, what its TensorFlow was built for, and the driver; all empty on a machine without GPUs."""
    visible = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in visible]
    chosen = [c for c in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if c]
    build = tf.sysconfig.get_build_info()
    driver = Path("/proc/driver/nvidia/version")
    version = re.search(r"Kernel Module.*?\s(\d+\.\d+[.\d]*)", driver.read_text()) if driver.is_file() else None
    return {
        "ids": chosen if len(chosen) == len(visible) else list(range(len(visible))),
        "capabilities": [tuple(d.get("compute_capability", ())) for d in details],
        "names": [d.get("device_name", "GPU") for d in details],
        "installed": len(list(Path("/proc/driver/nvidia/gpus").glob("*"))),
        "kernels": list(build.get("cuda_compute_capabilities", [])),
        "cuda": build.get("cuda_version"),
        "driver": version.group(1) if version else None,
        "infiniband": sorted(p.name for p in Path("/sys/class/infiniband").glob("*")),
    }


def probe_all_reduce(communicator, ranks) -> dict:
    """Sums whose results are known, through MPI and (with more than one rank) through Horovod: name -> right or not."""
    import numpy as np

    index = np.arange(REDUCED, dtype=np.int64)
    total = np.empty_like(index)
    communicator.Allreduce(index + communicator.rank, total)
    size = communicator.size
    right = {"MPI": bool((total == size * index + size * (size - 1) // 2).all())}
    if ranks.size > 1:
        small = (index % 1024).astype(np.float32)  # integers that float32 sums exactly
        result = ranks.sum(small + np.float32(ranks.rank))
        right[f"Horovod ({ranks.backend})"] = bool((result == size * small + size * (size - 1) // 2).all())
    return right


def network_used(log: str) -> Optional[str]:
    """The network that NCCL chose, from its NCCL_DEBUG=INFO log: "IB", "Socket", a plugin's name, or None if it says nothing."""
    chosen = re.findall(r"Using network (\S+)", log) or re.findall(r"NET/(\w+)\s*: Using", log)
    return chosen[-1] if chosen else None


def probe_room(scratch: str) -> dict:
    """Free space (GB) on scratch and /dev/shm, the memory (GB) and the cores this process may use."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
    limit = Path("/sys/fs/cgroup" + group) / "memory.max"  # version 2; Slurm and container engines limit a job's memory here
    text = limit.read_text().strip() if limit.is_file() else "max"
    return {
        "scratch": free_gb(scratch),
        "shm": free_gb("/dev/shm"),
        "memory": min(pages, int(text) if text.isdigit() else pages) / 1e9,
        "cores": sorted(os.sched_getaffinity(0)),
    }


def free_gb(folder: str) -> Optional[float]:
    """Free space in GB, or None if the folder cannot be written to."""
    return shutil.disk_usage(folder).free / 1e9 if os.access(folder, os.W_OK) else None


def probe_data(path: str) -> dict:
    """The data file as this node sees it: its digest, or what is wrong with it."""
    import numpy as np

    from bigearth import store

    try:
        data = store.Store(path)
        if store.content_digest(data.array("checksum"), data.interpolation) != data.digest:
            return {"wrong": f"{path}: the patches' checksums do not give the file's digest {data.digest}"}
        sample = np.unique(np.linspace(0, data.size - 1, min(SAMPLED, data.size)).astype(int))
        for i in sample[~data.intact(sample)]:
            return {"wrong": f"{path}: patch {data.names[i]} does not have its checksum"}
    except InputError as error:
        return {"wrong": str(error)}
    return {"digest": data.digest, "patches": int(data.size)}


def clock_offset(communicator, other: int) -> float:
    """How far rank `other`'s clock is ahead of rank 0's (s), by the exchange with the shortest way there and back; called by both."""
    samples = []
    for _ in range(5):
        if communicator.rank == 0:
            sent = time.time()
            theirs = communicator.sendrecv(None, other, source=other)
            samples.append((time.time() - sent, theirs - (sent + time.time()) / 2))
        else:
            communicator.recv(source=0)
            communicator.send(time.time(), 0)
    return min(samples)[1] if samples else 0.0


# ---- judgement: facts of all ranks -> rows ----------------------------------------------------------------------------------


def by_host(facts: list) -> dict:
    hosts = {}
    for fact in facts:
        hosts.setdefault(fact["hostname"], []).append(fact)
    return hosts


def judge_size(facts: list, config: PreflightConfig) -> list:
    """As many ranks and nodes as the job asked for."""
    rows = []
    for what, found, wanted in (("ranks", len(facts), config.ranks), ("nodes", len(by_host(facts)), config.nodes)):
        if wanted is not None:
            remedy = "" if found == wanted else f"ask the scheduler for {wanted} {what} and start the program once a rank"
            rows.append(row("job", what, PASS if found == wanted else FAIL, found, wanted, remedy))
    return rows


def judge_devices(host: str, facts: list, config: PreflightConfig) -> list:
    """GPU count, architecture against the kernels TensorFlow was built with, and driver against its CUDA version."""
    seen = {(str(i), capability) for fact in facts for i, capability in zip(fact["devices"]["ids"], fact["devices"]["capabilities"])}
    first = facts[0]["devices"]
    count, wanted = len(seen), config.devices_per_node
    if not count and not wanted and not first["installed"]:
        return [row(host, "devices", PASS, "no device", "none")]
    if count >= wanted and count:
        rows = [row(host, "devices", PASS, f"{count} ({', '.join(sorted(set(first['names'])))})", wanted or "any")]
    elif not first["kernels"]:
        status = FAIL if wanted else WARN
        return [row(host, "devices", status, "a TensorFlow without CUDA", wanted, "use an image with CUDA: v100, k80 or latest")]
    else:
        remedy = "ask the scheduler for GPUs, start the image with --nv, and see that `nvidia-smi` lists them inside it"
        rows = [row(host, "devices", FAIL if wanted else WARN, count, wanted or first["installed"], remedy)]
    for capability in sorted({c for _, c in seen}):
        rows.append(judge_kernels(host, capability, first["kernels"], config.gpu_arch))
    if first["driver"] and first["cuda"]:
        rows.append(judge_driver(host, first["driver"], first["cuda"]))
    return rows


def judge_kernels(host: str, capability: tuple, built: list, wanted: Optional[str]) -> dict:
    """Has TensorFlow machine code (sm_XY: same major version, minor not above), or at least PTX (compute_XY: any newer device)?"""
    name = "sm_{}{}".format(*capability)
    if wanted and name != wanted:
        return row(host, "architecture", FAIL, name, wanted, "the node has other GPUs than its partition's settings say")

    def version(text):
        digits = re.sub(r"\D", "", text.split("_")[-1])
        return int(digits[:-1]), int(digits[-1])

    have = ", ".join(built)
    if any(b.startswith("sm_") and version(b)[0] == capability[0] and version(b)[1] <= capability[1] for b in built):
        return row(host, "architecture", PASS, name, have)
    if any(b.startswith("compute_") and version(b) <= tuple(capability) for b in built):
        return row(host, "architecture", WARN, name, have, "only PTX fits: the first start compiles for minutes; take a newer image")
    return row(
        host, "architecture", FAIL, name, have, "TensorFlow has no kernels for this GPU: K80 needs the k80 image, V100 v100, newer latest"
    )


def judge_driver(host: str, driver: str, cuda: str) -> dict:
    needed = MINIMUM_DRIVER.get(int(cuda.split(".")[0]))
    found = tuple(int(part) for part in driver.split(".")[:2])
    expected = f"at least {needed[0]}.{needed[1]} for CUDA {cuda}" if needed else f"one for CUDA {cuda}"
    if needed is None:
        return row(host, "driver", WARN, driver, expected, "this CUDA version is not in the table: look it up in NVIDIA's release notes")
    remedy = "" if found >= needed else "update the driver, or use an image with an older CUDA"
    return row(host, "driver", PASS if found >= needed else FAIL, driver, expected, remedy)


def judge_network(host: str, facts: list, hosts: int, config: PreflightConfig) -> dict:
    """Did NCCL take InfiniBand between nodes, or fall back to sockets without a word?"""
    if not any(fact["devices"]["ids"] for fact in facts):
        return row(host, "nccl", PASS, "no device", "none")
    if hosts == 1:
        return row(host, "nccl", PASS, "one node: no network in use", config.network)
    used = next((fact["nccl"] for fact in facts if fact["nccl"]), None)
    cards = facts[0]["devices"]["infiniband"]
    if used is None:
        return row(host, "nccl", WARN, "NCCL named no network", config.network, "run again with NCCL_DEBUG=INFO unset in the environment")
    if used != "Socket":
        return row(host, "nccl", PASS, used, config.network)
    remedy = "check NCCL_IB_DISABLE, `ulimit -l`, and that /dev/infiniband is visible in the image"
    if cards or config.network == "infiniband":
        return row(host, "nccl", FAIL, f"sockets (InfiniBand cards: {', '.join(cards) or 'none visible'})", "InfiniBand", remedy)
    return row(host, "nccl", WARN, "sockets", "InfiniBand where there is one", "no InfiniBand card on this node: expect slow scaling")


def judge_all_reduce(host: str, facts: list) -> dict:
    wrong = [f"{name} on rank {fact['rank']}" for fact in facts for name, right in fact["all_reduce"].items() if not right]
    if wrong:
        remedy = "do not trust this node's memory, network or MPI build: take it out of the job and report it"
        return row(host, "all-reduce", FAIL, "wrong sum: " + ", ".join(wrong), "the exact sum", remedy)
    return row(host, "all-reduce", PASS, "right: " + ", ".join(facts[0]["all_reduce"]))


def judge_data(host: str, found: Optional[dict], config: PreflightConfig) -> dict:
    if found is None:
        return row(host, "data", WARN, "not looked at", "a file", "give --data FILE, the file that the job will read")
    if "wrong" in found:
        return row(host, "data", FAIL, found["wrong"], config.data_digest or "a complete file", "copy or make the file again")
    if config.data_digest and found["digest"] != config.data_digest:
        return row(
            host, "data", FAIL, found["digest"], config.data_digest, "this is another data set: give the right --data or --data-digest"
        )
    return row(host, "data", PASS, f"{found['patches']} patches, {found['digest'][:19]}", (config.data_digest or "complete")[:19])


def judge_room(host: str, facts: list, config: PreflightConfig) -> list:
    """Scratch, /dev/shm, memory and cores of one node."""
    room = facts[0]["room"]
    cores = len({core for fact in facts for core in fact["room"]["cores"]})
    checks = (
        ("scratch", room["scratch"], config.scratch_gb, "GB", f"free space in {config.scratch}, or give --scratch another folder"),
        ("shm", room["shm"], config.shm_gb, "GB", "clean /dev/shm, or start the node's container engine with a larger one"),
        ("memory", room["memory"], config.memory_gb, "GB", "ask the scheduler for more memory (--mem), or correct the site's settings"),
        ("cores", cores, config.cores_per_node, "cores", "ask the scheduler for more CPUs a task and check the binding"),
    )
    rows = []
    for name, found, wanted, unit, remedy in checks:
        short = found is None or found < wanted
        shown = "not writable" if found is None else f"{found:.3g} {unit}"
        rows.append(row(host, name, FAIL if short else PASS, shown, f"at least {wanted:g} {unit}", remedy if short else ""))
    return rows


def judge_clock(host: str, offset: float, limit: float) -> dict:
    late = abs(offset) > limit
    return row(
        host,
        "clock",
        WARN if late else PASS,
        f"{offset:+.3f} s",
        f"within {limit:g} s",
        "check the node's time service (chrony, ntpd)" if late else "",
    )


def judge_versions(facts: list, config: PreflightConfig) -> list:
    """Every node like the first; kernel and processor may differ, but are said. And the image must be the one that was asked for."""
    rows = []
    reference = facts[0]["versions"]
    for host, members in by_host(facts).items():
        other = {key for fact in members for key in {**reference, **fact["versions"]} if fact["versions"].get(key) != reference.get(key)}
        if other:
            status = WARN if other <= {"kernel", "processor"} else FAIL
            found = "; ".join(f"{key} {members[0]['versions'].get(key)}" for key in sorted(other))
            expected = "; ".join(f"{key} {reference.get(key)}" for key in sorted(other))
            rows.append(
                row(
                    host,
                    "versions",
                    status,
                    found,
                    f"as on {facts[0]['hostname']}: {expected}",
                    "use the same image and code on every node",
                )
            )
        else:
            rows.append(row(host, "versions", PASS, f"{len(reference)} equal", f"as on {facts[0]['hostname']}"))
        image = members[0]["versions"].get("image")
        if config.image_digest and image != config.image_digest:
            rows.append(row(host, "image", FAIL, image or "no image", config.image_digest, "start the job in the image with that digest"))
    return rows


def judge(facts: list, config: PreflightConfig) -> list:
    """All rows for the gathered facts, host by host."""
    rows = judge_size(facts, config)
    hosts = by_host(facts)
    for host, members in hosts.items():
        rows += judge_devices(host, members, config)
        rows.append(judge_network(host, members, len(hosts), config))
        rows.append(judge_all_reduce(host, members))
        rows.append(judge_data(host, members[0]["data"], config))
        rows += judge_room(host, members, config)
        rows.append(judge_clock(host, members[0]["clock"], config.clock_skew))
    return rows + judge_versions(facts, config)


# ---- the program ------------------------------------------------------------------------------------------------------------


def table(rows: list) -> str:
    """The table as text: what fails first; a check that passes alike on several hosts is one line."""
    grouped = {}
    for line in rows:
        key = (line["status"], line["check"], line["found"], line["expected"], line["remedy"])
        grouped.setdefault(key, []).append(line["host"])
    lines = [f"{'':4}  {'check':12}  {'host':16}  {'found':44}  expected"]
    for (status, check, found, expected, remedy), hosts in sorted(grouped.items(), key=lambda item: [FAIL, WARN, PASS].index(item[0][0])):
        host = hosts[0] if len(hosts) == 1 else f"{len(hosts)} nodes" if status == PASS else ",".join(hosts)
        lines.append(f"{status:4}  {check:12}  {host:16}  {found:44}  {expected}".rstrip())
        if remedy:
            lines.append(f"{'':20}-> {remedy}")
    return "\n".join(lines)


def finish(config: PreflightConfig, start: str, rows: list, facts: list) -> int:
    """Prints the table, writes the record, and returns the exit code; rank 0 only."""
    counts = {status: sum(line["status"] == status for line in rows) for status in (PASS, WARN, FAIL)}
    print(table(rows), flush=True)
    print("preflight: " + ", ".join(f"{count} {status}" for status, count in counts.items()), flush=True)
    ranks = [{"rank": f["rank"], "hostname": f["hostname"], "device": ", ".join(f["devices"]["names"]) or "CPU"} for f in facts]
    digest = next((f["data"]["digest"] for f in facts if f["data"] and "digest" in f["data"]), None)
    nodes = [f["hostname"] for f in facts] or [socket.gethostname()]
    path = Path(config.output) / "result.json"
    record.write(
        path,
        "preflight",
        dataclasses.asdict(config),
        {},
        ranks,
        {"checks": rows},
        {},
        record.provenance(start, nodes, digest, checks=counts),
    )
    return 1 if counts[FAIL] else 0


def probe(config: PreflightConfig, communicator, step: Step) -> dict:
    """Everything this rank can find out; the same collective calls on every rank."""
    os.environ.setdefault("NCCL_DEBUG", "INFO")
    log = tempfile.NamedTemporaryFile(prefix="nccl.", suffix=".log")  # noqa: SIM115  open until the end of this function
    os.environ.setdefault("NCCL_DEBUG_FILE", log.name)
    step.name = "loading TensorFlow"
    import tensorflow as tf

    from bigearth.learn import collective

    step.name = "devices"
    host = socket.gethostname()
    hosts = communicator.allgather(host)
    devices = probe_devices(tf)
    if devices["ids"]:
        gpus = tf.config.list_physical_devices("GPU")
        own = gpus[hosts[: communicator.rank].count(host) % len(gpus)]
        tf.config.set_visible_devices(own, "GPU")
        tf.config.experimental.set_memory_growth(own, True)
    step.name = "all-reduce"
    right = probe_all_reduce(communicator, collective.connect("auto"))
    step.name = "data file"
    leader = hosts.index(host)  # one rank looks at what all ranks of a node share
    data = probe_data(config.data) if config.data and communicator.rank == leader else None
    step.name = "clock"
    offsets = {}
    for other in sorted({hosts.index(name) for name in hosts} - {0}):
        if communicator.rank in (0, other):
            offsets[hosts[other]] = clock_offset(communicator, other)
    offsets = communicator.bcast(offsets)
    step.name = "versions"
    found = record.provenance("", [host], None)
    versions = {**found["packages"], **found["libraries"], "image": found["image_digest"], "code": found["git_commit"]}
    versions.update({key: found[key] for key in ("python", "kernel", "processor")})
    return {
        "rank": communicator.rank,
        "hostname": host,
        "devices": devices,
        "all_reduce": right,
        "nccl": network_used(Path(log.name).read_text()),
        "data": data,
        "room": probe_room(config.scratch),
        "clock": offsets.get(host, 0.0),
        "versions": versions,
    }


def alone(config: PreflightConfig, start: str, rows: list, first: bool) -> int:
    """Ends ranks that cannot talk to each other: the launcher's first process reports for all."""
    if first:
        return finish(config, start, rows, [])
    time.sleep(GRACE)
    return 1


def run(config: PreflightConfig) -> int:
    """Probes, judges, reports; the exit code is the same on every rank."""
    start = record.now()
    step = Step(config, start)
    host, launch = socket.gethostname(), launcher(ENVIRONMENT)
    first = program.launcher_rank() == 0
    import mpi4py

    mpi4py.rc.initialize, mpi4py.rc.finalize = False, True  # MPI_Init only after the launcher is known to fit
    from mpi4py import MPI

    verdict = judge_launch(host, launch, MPI.Get_library_version())
    if verdict["status"] == FAIL:
        return alone(config, start, [verdict], first)
    step.name = "MPI_Init"
    MPI.Init_thread()
    communicator = MPI.COMM_WORLD
    world = judge_world(host, launch, communicator.size)
    if world["status"] == FAIL:
        return alone(config, start, [verdict, world], first)
    with together(communicator.allgather):
        if config.data_digest and not config.data:
            raise InputError("command line: --data-digest without --data; give the file whose digest it is")
        if first:
            try:
                Path(config.output).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise disk_error(config.output, "make the output folder", error) from error
    facts = communicator.gather(probe(config, communicator, step))
    step.done()
    code = finish(config, start, [verdict, world, *judge(facts, config)], facts) if communicator.rank == 0 else None
    return communicator.bcast(code)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    program.main(PreflightConfig, run, "benchmarks.preflight", "Look at every node of a job before anything long runs on it.")
