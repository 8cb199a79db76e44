"""The preflight's judgement: pure functions of what the ranks saw (preflight_facts.py) and of what
the job was promised.

Each gives rows {host, check, status, found, expected, remedy}, status PASS, WARN or FAIL; a FAIL
always has a remedy.
"""

import dataclasses
import re
import tempfile
from typing import Literal, Optional

from benchmarks.preflight import binding
from benchmarks.preflight.facts import Launcher, family
from benchmarks.preflight.row import FAIL, PASS, WARN, row
from bigearth.cli import option

QUICK = 30.0  # seconds that the whole preflight may take without a word
# NVIDIA, "CUDA Compatibility": by CUDA major version
MINIMUM_DRIVER = {11: (450, 80), 12: (525, 60), 13: (580, 65)}


@dataclasses.dataclass(frozen=True)
class PreflightConfig:
    out: str = option("results/preflight", "folder for result.json", repeats=True)
    nodes: Optional[int] = option(None, "nodes the job must have")
    ranks: Optional[int] = option(None, "ranks the job must have")
    devices_per_node: int = option(0, "GPUs each node must show")
    gpu_arch: Optional[str] = option(None, "architecture of those GPUs, e.g. sm_70")
    network: Literal["any", "infiniband"] = option("any", "what NCCL must use between nodes")
    data: Optional[str] = option(None, "HDF5 file that the job will read", repeats=True)
    data_digest: Optional[str] = option(None, "content digest it must have (sha256:...)")
    image_digest: Optional[str] = option(
        None, "digest of the image the job must run in (sha256:...)"
    )
    cores_per_node: int = option(1, "cores each node must offer the job")
    node_cores: Optional[int] = option(None, "cores that each node has, by the site's file")
    memory_gb: float = option(2.0, "memory each node must have, GB")
    scratch: str = option(tempfile.gettempdir(), "folder for node-local temporary files")
    scratch_gb: float = option(1.0, "free space there, GB")
    shm_gb: float = option(
        0.25, "free space in /dev/shm, GB: MPI and NCCL exchange data of one node's ranks there"
    )
    clock_skew: float = option(0.5, "how far the nodes' clocks may differ, s")
    time_limit: float = option(
        30.0, "seconds after which one check that hangs is reported and the job ends"
    )


def judge_launch(host: str, launch: Launcher, library: str) -> dict:
    """Can the launcher and the MPI library agree at all? Asked before MPI_Init, which would abort
    or quietly start alone."""
    if launch.size == 1 or family(library) in launch.speaks:
        return row(host, "launcher", PASS, found=f"{launch.name}, {family(library)} library")
    if not launch.speaks:
        remedy = (
            "start the program with `srun --mpi=pmix` or with the mpirun of the library's family"
        )
    elif "srun" in launch.name:
        remedy = "start with `srun --mpi=pmix`"
    else:
        remedy = (
            f"load the host's {family(library)} module, or take an image with the host's MPI family"
        )
    return row(
        host,
        "launcher",
        FAIL,
        found=f"{launch.name}, but the MPI library is {family(library)}",
        expected="the same MPI family",
        remedy=remedy,
    )


def judge_world(host: str, launch: Launcher, size: int) -> dict:
    """Does MPI's world have as many ranks as the launcher started processes?"""
    if size == launch.size:
        return row(host, "world", PASS, found=f"{size} ranks", expected=f"{launch.size} ranks")
    found = f"{launch.size} worlds of size 1" if size == 1 else f"a world of size {size}"
    remedy = (
        "the MPI (PMI) of the launcher and of the program do not understand each other: use a "
        "launcher of the library's family and "
        "version, and with srun --mpi=pmix; inside an image, pass the launcher's environment "
        "through (no --cleanenv)"
    )
    return row(
        host,
        "world",
        FAIL,
        found=f"{launch.name} started {launch.size} processes and MPI made {found}",
        expected=f"one world of {launch.size}",
        remedy=remedy,
    )


def by_host(facts: list) -> dict:
    hosts = {}
    for fact in facts:
        hosts.setdefault(fact["hostname"], []).append(fact)
    return hosts


def judge_size(facts: list, config: PreflightConfig) -> list:
    """As many ranks and nodes as the job asked for."""
    rows = []
    for what, found, wanted in (
        ("ranks", len(facts), config.ranks),
        ("nodes", len(by_host(facts)), config.nodes),
    ):
        if wanted is not None:
            remedy = (
                ""
                if found == wanted
                else (f"ask the scheduler for {wanted} {what} and start the program once per rank")
            )
            rows.append(
                row(
                    "job",
                    what,
                    PASS if found == wanted else FAIL,
                    found=found,
                    expected=wanted,
                    remedy=remedy,
                )
            )
    return rows


def judge_devices(host: str, facts: list, config: PreflightConfig) -> list:
    """GPU count, architecture against the kernels TensorFlow was built with, and driver against its
    CUDA version."""
    seen = {
        (str(i), capability)
        for fact in facts
        for i, capability in zip(fact["devices"]["ids"], fact["devices"]["capabilities"])
    }
    first = facts[0]["devices"]
    count, wanted = len(seen), config.devices_per_node
    if not count and not wanted and not first["installed"]:
        return [row(host, "devices", PASS, found="no device", expected="none")]
    if count >= wanted and count:
        rows = [
            row(
                host,
                "devices",
                PASS,
                found=f"{count} ({', '.join(sorted(set(first['names'])))})",
                expected=wanted or "any",
            )
        ]
    elif not first["kernels"]:
        status = FAIL if wanted else WARN
        return [
            row(
                host,
                "devices",
                status,
                found="a TensorFlow without CUDA",
                expected=wanted,
                remedy="use an image with CUDA: v100, k80 or latest",
            )
        ]
    else:
        remedy = (
            "ask the scheduler for GPUs, start the image with --nv, and see that "
            "`nvidia-smi` "
            "lists them inside it"
        )
        rows = [
            row(
                host,
                "devices",
                FAIL if wanted else WARN,
                found=count,
                expected=wanted or first["installed"],
                remedy=remedy,
            )
        ]
    for capability in sorted({c for _, c in seen}):
        rows.append(judge_kernels(host, capability, first["kernels"], wanted=config.gpu_arch))
    if first["cuda"] and count:
        rows.append(judge_driver(host, first["driver"], first["cuda"]))
    return rows


def judge_kernels(host: str, capability: tuple, built: list, wanted: Optional[str]) -> dict:
    """Has TensorFlow machine code (sm_XY: same major version, minor not above), or at least PTX
    (compute_XY: any newer device)?"""
    name = "sm_{}{}".format(*capability)
    if wanted and name != wanted:
        return row(
            host,
            "architecture",
            FAIL,
            found=name,
            expected=wanted,
            remedy="the node has other GPUs than its partition's settings say",
        )

    def version(text):
        digits = re.sub(r"\D", "", text.split("_")[-1])
        return int(digits[:-1]), int(digits[-1])

    have = ", ".join(built)
    if any(
        b.startswith("sm_") and version(b)[0] == capability[0] and version(b)[1] <= capability[1]
        for b in built
    ):
        return row(host, "architecture", PASS, found=name, expected=have)
    if any(b.startswith("compute_") and version(b) <= tuple(capability) for b in built):
        return row(
            host,
            "architecture",
            WARN,
            found=name,
            expected=have,
            remedy="only PTX fits: the first start compiles for minutes; take a newer image",
        )
    return row(
        host,
        "architecture",
        FAIL,
        found=name,
        expected=have,
        remedy="TensorFlow has no kernels for this GPU: K80 needs the k80 image, "
        "V100 v100, newer latest",
    )


def judge_driver(host: str, driver: Optional[str], cuda: str) -> dict:
    if driver is None:
        remedy = (
            "no /proc/driver/nvidia/version here: compare the driver with NVIDIA's release "
            "notes by hand"
        )
        return row(
            host, "driver", WARN, found="unknown", expected=f"one for CUDA {cuda}", remedy=remedy
        )
    needed = MINIMUM_DRIVER.get(int(cuda.split(".")[0]))
    found = tuple(int(part) for part in driver.split(".")[:2])
    expected = (
        (f"at least {needed[0]}.{needed[1]} for CUDA {cuda}") if needed else f"one for CUDA {cuda}"
    )
    if needed is None:
        return row(
            host,
            "driver",
            WARN,
            found=driver,
            expected=expected,
            remedy="this CUDA version is not in the table: look it up in NVIDIA's release notes",
        )
    remedy = "" if found >= needed else "update the driver, or use an image with an older CUDA"
    return row(
        host,
        "driver",
        PASS if found >= needed else FAIL,
        found=driver,
        expected=expected,
        remedy=remedy,
    )


def judge_network(host: str, facts: list, hosts: int, config: PreflightConfig) -> dict:
    """Did NCCL take InfiniBand between nodes, or fall back to sockets without a word?"""
    if not any(fact["devices"]["ids"] for fact in facts):
        return row(host, "nccl", PASS, found="no device", expected="none")
    if hosts == 1:
        return row(host, "nccl", PASS, found="one node: no network in use", expected=config.network)
    used = next((fact["nccl"] for fact in facts if fact["nccl"]), None)
    cards = facts[0]["devices"]["infiniband"]
    if used is None:
        return row(
            host,
            "nccl",
            WARN,
            found="NCCL named no network",
            expected=config.network,
            remedy="run again with NCCL_DEBUG=INFO unset in the environment",
        )
    if used != "Socket":
        return row(host, "nccl", PASS, found=used, expected=config.network)
    remedy = "check NCCL_IB_DISABLE, `ulimit -l`, and that /dev/infiniband is visible in the image"
    if cards or config.network == "infiniband":
        return row(
            host,
            "nccl",
            FAIL,
            found=f"sockets (InfiniBand cards: {', '.join(cards) or 'none visible'})",
            expected="InfiniBand",
            remedy=remedy,
        )
    return row(
        host,
        "nccl",
        WARN,
        found="sockets",
        expected="InfiniBand where there is one",
        remedy="no InfiniBand card on this node: expect slow scaling",
    )


def judge_all_reduce(host: str, facts: list) -> dict:
    wrong = [
        f"{name} on rank {fact['rank']}"
        for fact in facts
        for name, right in fact["all_reduce"].items()
        if not right
    ]
    if wrong:
        remedy = (
            "do not trust this node's memory, network or MPI build: take it out of the job "
            "and report it"
        )
        return row(
            host,
            "all-reduce",
            FAIL,
            found="wrong sum: " + ", ".join(wrong),
            expected="the exact sum",
            remedy=remedy,
        )
    return row(host, "all-reduce", PASS, found="right: " + ", ".join(facts[0]["all_reduce"]))


def judge_data(host: str, found: Optional[dict], config: PreflightConfig) -> dict:
    if found is None:
        return row(
            host,
            "data",
            WARN,
            found="not looked at",
            expected="a file",
            remedy="give --data FILE, the file that the job will read",
        )
    if "wrong" in found:
        return row(
            host,
            "data",
            FAIL,
            found=found["wrong"],
            expected=config.data_digest or "a complete file",
            remedy="copy or make the file again",
        )
    if config.data_digest and found["digest"] != config.data_digest:
        return row(
            host,
            "data",
            FAIL,
            found=found["digest"],
            expected=config.data_digest,
            remedy="this is another data set: give the right --data or --data-digest",
        )
    return row(
        host,
        "data",
        PASS,
        found=f"{found['patches']} patches, {found['digest'][:19]}",
        expected=(config.data_digest or "complete")[:19],
    )


def judge_room(host: str, facts: list, config: PreflightConfig) -> list:
    """Scratch, /dev/shm, memory and cores: what the job has of one node, and what the node has."""
    room = facts[0]["room"]
    cores = len({core for fact in facts for core in fact["binding"]["cores"]})
    checks = (
        (
            "scratch",
            room["scratch"],
            config.scratch_gb,
            "GB",
            f"free space in {config.scratch}, or give --scratch another folder",
        ),
        (
            "shm",
            room["shm"],
            config.shm_gb,
            "GB",
            "clean /dev/shm, or start the node's container engine with a larger one",
        ),
        (
            "memory",
            room["memory"],
            config.memory_gb,
            "GB",
            "ask the scheduler for more memory (--mem), or correct the site's settings",
        ),
        (
            "cores",
            cores,
            config.cores_per_node,
            "cores",
            "ask the scheduler for more CPUs a task and check the binding",
        ),
    )
    rows = []
    for name, found, wanted, unit, remedy in checks:
        short = found is None or found < wanted
        shown = "not writable" if found is None else f"{found:.3g} {unit}"
        rows.append(
            row(
                host,
                name,
                FAIL if short else PASS,
                found=shown,
                expected=f"at least {wanted:g} {unit}",
                remedy=remedy if short else "",
            )
        )
    return rows + (
        [judge_node_cores(host, room["node_cores"], config.node_cores)] if config.node_cores else []
    )


def judge_node_cores(host: str, has: dict, wanted: int) -> dict:
    """The node's own cores against the site's file, which may count cores or, where each runs two
    threads, those."""
    found = f"{has['cores']} cores" + (
        f", {has['threads']} threads" if has["threads"] != has["cores"] else ""
    )
    if wanted in has.values():
        return row(host, "node cores", PASS, found=found, expected=wanted)
    if wanted < has["cores"]:
        return row(
            host,
            "node cores",
            WARN,
            found=found,
            expected=wanted,
            remedy="the job leaves cores idle: correct the number of cores in the site's settings",
        )
    remedy = (
        "cores are switched off, or this is not a node of that partition: take it out of the "
        "job, or correct the site's settings"
    )
    return row(host, "node cores", FAIL, found=found, expected=wanted, remedy=remedy)


def judge_software(host: str, error: Optional[str]) -> dict:
    """Could every rank of the node load TensorFlow and Horovod?"""
    if error is None:
        return row(host, "software", PASS, found="loaded", expected="TensorFlow, Horovod")
    remedy = (
        "start the same image or environment on every node, and see that the file system it "
        "lies on is mounted here"
    )
    return row(host, "software", FAIL, found=error, expected="TensorFlow, Horovod", remedy=remedy)


def judge_clock(host: str, offset: float, limit: float) -> dict:
    late = abs(offset) > limit
    return row(
        host,
        "clock",
        WARN if late else PASS,
        found=f"{offset:+.3f} s",
        expected=f"within {limit:g} s",
        remedy="check the node's time service (chrony, ntpd)" if late else "",
    )


def judge_versions(facts: list, config: PreflightConfig) -> list:
    """Every node like the first; kernel and processor may differ, but are said. And the image must
    be the one that was asked for."""
    rows = []
    reference = facts[0]["versions"]
    for host, members in by_host(facts).items():
        other = {
            key
            for fact in members
            for key in {**reference, **fact["versions"]}
            if fact["versions"].get(key) != reference.get(key)
        }
        if other:
            status = WARN if other <= {"kernel", "processor"} else FAIL
            odd = next(
                fact["versions"]
                for fact in members
                if any(fact["versions"].get(key) != reference.get(key) for key in other)
            )
            found = "; ".join(f"{key} {odd.get(key)}" for key in sorted(other))
            expected = "; ".join(f"{key} {reference.get(key)}" for key in sorted(other))
            rows.append(
                row(
                    host,
                    "versions",
                    status,
                    found=found,
                    expected=f"as on {facts[0]['hostname']}: {expected}",
                    remedy="use the same image and code on every node",
                )
            )
        else:
            rows.append(
                row(
                    host,
                    "versions",
                    PASS,
                    found=f"{len(reference)} equal",
                    expected=f"as on {facts[0]['hostname']}",
                )
            )
        image = members[0]["versions"].get("image")
        if config.image_digest and image != config.image_digest:
            rows.append(
                row(
                    host,
                    "image",
                    FAIL,
                    found=image or "no image",
                    expected=config.image_digest,
                    remedy="start the job in the image with that digest",
                )
            )
    return rows


def judge_duration(seconds: float) -> dict:
    """A preflight that is not quick is a sign of slow storage or a busy node: what follows will
    start as slowly."""
    slow = seconds >= QUICK
    remedy = (
        ("the software or the data lie on slow storage, or other work keeps the nodes busy")
        if slow
        else ""
    )
    return row(
        "job",
        "duration",
        WARN if slow else PASS,
        found=f"{seconds:.1f} s",
        expected=f"under {QUICK:g} s",
        remedy=remedy,
    )


def judge(facts: list, config: PreflightConfig) -> list:
    """All rows for the gathered facts, host by host."""
    rows = judge_size(facts, config)
    hosts = by_host(facts)
    digests = [members[0]["data"].get("digest") for members in hosts.values() if members[0]["data"]]
    one_file = dataclasses.replace(
        config, data_digest=config.data_digest or next(filter(None, digests), None)
    )
    for host, members in hosts.items():
        rows += judge_devices(host, members, config)
        rows.append(judge_network(host, members, len(hosts), config=config))
        rows.append(judge_all_reduce(host, members))
        rows.append(judge_data(host, members[0]["data"], one_file))
        rows += judge_room(host, members, config)
        rows += binding.judge(host, members)
        rows.append(judge_clock(host, members[0]["clock"], config.clock_skew))
    return rows + judge_versions(facts, config)


def table(rows: list) -> str:
    """The table as text: what fails first; a check that passes alike on several hosts is one
    line."""
    grouped = {}
    for line in rows:
        key = (line["status"], line["check"], line["found"], line["expected"], line["remedy"])
        grouped.setdefault(key, []).append(line["host"])
    lines = [f"{'':4}  {'check':12}  {'host':16}  {'found':44}  expected"]
    for (status, check, found, expected, remedy), hosts in sorted(
        grouped.items(), key=lambda item: [FAIL, WARN, PASS].index(item[0][0])
    ):
        host = (
            hosts[0]
            if len(hosts) == 1
            else (f"{len(hosts)} nodes")
            if status == PASS
            else ",".join(hosts)
        )
        lines.append(f"{status:4}  {check:12}  {host:16}  {found:44}  {expected}".rstrip())
        if remedy:
            lines.append(f"{'':20}-> {remedy}")
    return "\n".join(lines)
