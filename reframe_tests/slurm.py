"""What Slurm says of itself: partitions and nodes, read from its own texts.

Facts only; what to make of them is judged in site_add.py. `sinfo` knows of partitions (may jobs be
submitted, how long, how large), `scontrol show node` of nodes (hardware, features, state).
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import NamedTuple, Optional

from bigearth.errors import InputError, one_line

SECONDS = 60  # that Slurm has to answer
PARTITION_COLUMNS = "%R|%a|%l|%s|%r"
SINFO = ("sinfo", "--noheader", f"--format={PARTITION_COLUMNS}")
SCONTROL = ("scontrol", "show", "node")
VERSION = ("sinfo", "--version")
MPI_TYPES = ("srun", "--mpi=list")
SUFFIXES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
NOTHING = ("", "(null)", "N/A", "n/a")


class Partition(NamedTuple):
    """A line of `sinfo`.

    Attributes:
        state: "up", "down", "drain" or "inact".
        time_limit: seconds of the longest job; None if there is no limit.
        most_nodes: of one job; None if there is no limit.
        root_only: whether only the administrator may submit.
    """

    name: str
    state: str
    time_limit: Optional[int]
    most_nodes: Optional[int]
    root_only: bool


class Gres(NamedTuple):
    """A generic resource of a node, e.g. "gpu:a100:4(S:0-1)"; `type` is "" if it has none."""

    name: str
    type: str
    count: int


@dataclass(frozen=True)
class Node:
    """A record of `scontrol show node`.

    Attributes:
        arch: as `uname -m` says it; "" of a node that has not reported yet.
        features: the active ones, which a job can ask for with --constraint.
        state: as Slurm writes it, e.g. "IDLE+DRAIN" or "DOWN*".
    """

    name: str
    arch: str
    sockets: int
    cores_per_socket: int
    threads_per_core: int
    memory_mb: int
    gres: tuple
    features: frozenset
    state: str
    partitions: tuple


def of_one_cluster(text: str, command: str) -> list:
    """The lines of an answer without those that name the cluster.

    Raises:
        InputError: it is an answer of several clusters.
    """
    lines, clusters = [], []
    for line in text.splitlines():
        found = re.match(r"CLUSTER:\s*(\S+)", line)
        if found:
            clusters.append(found.group(1))
        else:
            lines.append(line)
    if len(set(clusters)) > 1:
        raise InputError(
            f"`{command}` answers for the clusters {one_line(', '.join(clusters))}; expected one; "
            f"choose with `export SLURM_CLUSTERS={clusters[0]}`"
        )
    return lines


def parse_partitions(text: str) -> list:
    """A Partition for each line of `sinfo --noheader --format="%R|%a|%l|%s|%r"`.

    Raises:
        InputError: a line has another form.
    """
    found = {}
    for line in of_one_cluster(text, "sinfo"):
        if not line.strip():
            continue
        words = line.split("|")
        if len(words) != 5 or not words[0] or re.search(r"\s", words[0].strip()):
            raise InputError(
                f"`sinfo` printed {one_line(line, 80)!r}; expected name|state|time limit|job "
                "size|root; see whether `sinfo` here is Slurm's own"
            )
        name, state, limit, size, root = (word.strip() for word in words)
        found.setdefault(
            name,
            Partition(
                name=name,
                state=state,
                time_limit=seconds(limit),
                most_nodes=_largest(size),
                root_only=root == "yes",
            ),
        )
    return list(found.values())


def seconds(limit: str) -> Optional[int]:
    """Slurm's [days-][[hours:]minutes:]seconds; None if there is no limit.

    Raises:
        InputError: it is neither a time nor "infinite".
    """
    if limit.lower() in ("infinite", "unlimited", *NOTHING):
        return None
    found = re.fullmatch(r"(?:([0-9]{1,6})-)?([0-9]{1,9}(?::[0-9]{1,9}){0,2})", limit)
    if not found:
        raise InputError(
            f"Slurm gives a time limit of {one_line(limit, 40)!r}; expected "
            "days-hours:minutes:seconds or infinite; see `sinfo`"
        )
    clock = [int(part) for part in found.group(2).split(":")]
    if found.group(1) is not None:  # with days, the first number is hours
        clock = (clock + [0, 0])[:3]
    total = 0
    for part in clock:
        total = 60 * total + part
    return total + 86400 * int(found.group(1) or 0)


def _largest(size: str) -> Optional[int]:
    """The larger end of a job size, e.g. "1-32"; None of "1-infinite"."""
    last = size.rpartition("-")[2]
    return int(last) if re.fullmatch("[0-9]{1,9}", last) else None


def parse_nodes(text: str) -> list:
    """A Node for each record of `scontrol show node`, in its form of several lines or of one.

    Raises:
        InputError: it is something else, or a record lacks what every node has.
    """
    joined = "\n".join(of_one_cluster(text, "scontrol show node"))
    start, *records = re.split(r"^NodeName=", joined, flags=re.MULTILINE)
    if start.strip():
        raise InputError(
            f"`scontrol show node` printed {one_line(start, 80)!r}; expected NodeName=...; see "
            "whether it works here"
        )
    found = {}
    for record in records:
        node = _node(record)
        found.setdefault(node.name, node)
    return list(found.values())


def _node(record: str) -> Node:
    """A record without its first word, e.g. "n01 Arch=x86_64 CoresPerSocket=20 ..."."""
    name = re.match(r"\S*", record).group()
    # free text (Reason, Comment, Extra) may hold anything; it comes after all that is asked for
    known = re.split(r"\s(?:Reason|Comment|Extra)=", record)[0]
    values = dict(re.findall(r"\s([A-Z]\w*)=(\S*)", known))

    def number(key: str) -> int:
        value = values.get(key, "nothing")
        if not re.fullmatch("[0-9]{1,12}", value):
            raise InputError(
                f"`scontrol show node`: {key} of node {one_line(name, 60) or '?'} is "
                f"{one_line(value, 40)}; expected a number; see `scontrol show node`"
            )
        return int(value)

    def words(key: str) -> list:
        value = values.get(key, "")
        return [] if value in NOTHING else [word for word in value.split(",") if word]

    return Node(
        name=name,
        arch=values.get("Arch", ""),
        sockets=max(1, number("Sockets")),
        cores_per_socket=max(1, number("CoresPerSocket")),
        threads_per_core=max(1, number("ThreadsPerCore")),
        memory_mb=number("RealMemory"),
        gres=parse_gres(values.get("Gres", "")),
        features=frozenset(words("ActiveFeatures") or words("Features")),
        state=values.get("State", "UNKNOWN"),
        partitions=tuple(words("Partitions")),
    )


def parse_gres(text: str) -> tuple:
    """The generic resources of a node, e.g. of "gpu:a100:4(S:0-1),nic:2"; what has another form is
    left out."""
    if text in NOTHING:
        return ()
    found = []
    for part in re.sub(r"\([^)]*\)?", "", text).split(","):
        name, *rest = [word for word in part.split(":") if word != "no_consume"]
        count = re.fullmatch("([0-9]{1,12})([KMGT]?)", rest[-1] if rest else "1")
        if not name or len(rest) > 2 or not count:
            continue
        kind = rest[0] if len(rest) == 2 else ""
        found.append(Gres(name, kind, int(count.group(1)) * SUFFIXES[count.group(2)]))
    return tuple(found)


def has_pmix(mpi_types: str) -> bool:
    """Whether `srun --mpi=list` has PMIx among its types."""
    return bool(re.search(r"\bpmix(_v[0-9]+)?\b", mpi_types))


def ask(command: tuple) -> str:
    """What one of Slurm's commands prints, on either stream.

    Raises:
        InputError: it is not there or does not answer.
    """
    if not shutil.which(command[0]):
        raise InputError(
            f"there is no `{command[0]}` on the PATH; run this on a login node of a machine with "
            "Slurm, or copy settings/local.py"
        )
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=True, timeout=SECONDS
        )
    except (subprocess.SubprocessError, OSError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or ["silent"]
        raise InputError(
            f"Slurm does not answer ({one_line(detail[-1])}); see that `{command[0]}` works here"
        ) from error
    return done.stdout if done.stdout.strip() else done.stderr
