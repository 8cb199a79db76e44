"""Which partitions a site's settings should have, judged from what its Slurm says (slurm.py).

Pure functions: texts of Slurm's were read before, files are written afterwards (site_add.py).
Nothing is left out without a word, and what Slurm does not know becomes a to-do.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

from bigearth.errors import InputError, one_line

# what Slurm calls a device -> NVIDIA's compute capability
NVIDIA = {
    "k80": "sm_37",
    "p100": "sm_60",
    "v100": "sm_70",
    "t4": "sm_75",
    "a100": "sm_80",
    "a30": "sm_80",
    "a10": "sm_86",
    "a40": "sm_86",
    "l4": "sm_89",
    "l40": "sm_89",
    "l40s": "sm_89",
    "h100": "sm_90",
    "gh200": "sm_90",
    "h200": "sm_90",
    "b200": "sm_100",
    "gb200": "sm_100",
}
AMD = {"mi100": "gfx908", "mi210": "gfx90a", "mi250": "gfx90a", "mi250x": "gfx90a"}
AMD |= {"mi300": "gfx942", "mi300a": "gfx942", "mi300x": "gfx942"}
MIG = re.compile(r"[0-9]+g\.[0-9]+gb", re.IGNORECASE)
# words of a node's state that do not keep a job from it
WORKING = {"IDLE", "ALLOCATED", "MIXED", "COMPLETING", "PLANNED", "CLOUD", "BLOCKED"}
POWER = re.compile("POWER(ED|ING)?_(UP|DOWN|SAVING)|DYNAMIC_(NORM|FUTURE)")
MOST_EXCLUDED = 1000  # letters of an --exclude option that a person can still read
DAY = 86400
USUAL_S = 7200  # of a job whose time no reference states
LAUNCHER_OPTIONS = ("--mpi=pmix", "--cpu-bind=cores", "--distribution=block:block")
ARCHITECTURES = ("x86_64",)  # that images of this suite exist for
YAML_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")


class Device(NamedTuple):
    """The GPUs of a node.

    Attributes:
        kind: "gpu" of NVIDIA, "amd_gpu", or "other_gpu".
        type: Slurm's word for it, which `--gres=gpu:TYPE:N` asks for; "" if it has none.
        arch: e.g. "sm_80"; "" if it is not known.
        mig: whether it is a slice of a GPU.
    """

    kind: str
    type: str
    model: str
    count: int
    arch: str
    mig: bool


@dataclass(frozen=True)
class Kind:
    """Nodes of one partition that are alike but for their memory.

    Attributes:
        nodes: those that work.
        all_nodes: those, too, that do not work now.
        options: what a job asks for to get this kind and no other.
        label: sets it apart from other kinds of the partition; "" if there are none.
    """

    partition: object
    nodes: tuple
    all_nodes: tuple
    device: Optional[Device]
    options: tuple = ()
    label: str = ""


@dataclass
class Plan:
    """What to write.

    Attributes:
        partitions: entries of ReFrame's configuration.
        notes: what was left out, and why.
        todos: what a person has to find out or decide.
    """

    partitions: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    todos: list = field(default_factory=list)


def make(partitions: list, nodes: list, engine: Optional[str], pmix: bool) -> Plan:
    """The plan for a cluster.

    Args:
        partitions, nodes: of `slurm.parse_partitions` and `slurm.parse_nodes`.
        engine: "Apptainer" or "Singularity"; None if neither was found.
        pmix: whether srun can start ranks through PMIx.

    Raises:
        InputError: there is no partition that jobs could go to.
    """
    plan = Plan()
    kinds = []
    _leave_out_nodes(nodes, plan)
    for partition in partitions:
        why = unusable(partition)
        if why:
            plan.notes.append(f"partition {partition.name}: {why}")
            continue
        own = [node for node in nodes if partition.name in node.partitions]
        if not any(works(node) for node in own):
            plan.notes.append(f"partition {partition.name}: none of its nodes works")
            continue
        kinds += separate(partition, own, plan)
    kept = without_overlaps(kinds, plan)
    if not kept:
        raise InputError(
            "Slurm has no partition here that jobs could go to"
            f"{''.join(f'; {note}' for note in plan.notes[:5])}; see `sinfo`"
        )
    taken = {"login"}
    for kind in kept:
        name = safe_name(f"{kind.partition.name}_{kind.label}".rstrip("_"), taken)
        taken.add(name)
        plan.partitions.append(entry(name, kind, engine))
        plan.todos += [f"{name}: {todo}" for todo in questions(kind)]
    plan.todos += site_questions(kept, engine, pmix)
    return plan


def works(node) -> bool:
    """Whether jobs can go to a node: not drained, down, reserved, in maintenance or silent."""
    words = re.findall("[A-Z_]+", node.state.upper())
    good = all(word in WORKING or POWER.fullmatch(word) for word in words)
    return bool(words) and good and "*" not in node.state


def unusable(partition) -> str:
    """Why no job of ours can go to a partition; "" if it can."""
    if partition.state.lower() != "up":
        return f"it is {one_line(partition.state, 20) or 'in no state'}"
    if partition.root_only:
        return "only root may submit to it"
    return ""


def _leave_out_nodes(nodes: list, plan: Plan) -> None:
    states = {}
    for node in nodes:
        if not works(node):
            states.setdefault(node.state, []).append(node.name)
    for state, names in states.items():
        plan.notes.append(f"{counted(names)}, in state {one_line(state, 60)}")


def counted(names: list) -> str:
    """How many nodes, and the names of the first."""
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{number(names)} ({shown})"


def number(nodes) -> str:
    return f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}"


def device(node) -> Optional[Device]:
    """The GPUs of a node: whole ones if there are any, of several types the most."""
    found = [one for one in node.gres if one.name == "gpu" and one.count]
    whole = [one for one in found if not MIG.search(one.type)]
    if not found:
        return None
    chosen = max(whole or found, key=lambda one: (one.count, one.type))
    # where the resource has no type, a feature of the node may name it
    words = [chosen.type] if chosen.type else sorted(node.features)
    kind, model, arch = "other_gpu" if chosen.type else "gpu", chosen.type, ""
    for word in words:
        name = known_model(word, (*NVIDIA, *AMD))
        if name in NVIDIA:
            kind, model, arch = "gpu", chosen.type or name, NVIDIA[name]
        elif name:
            kind, model, arch = "amd_gpu", chosen.type or name, AMD[name]
    return Device(
        kind=kind,
        type=chosen.type,
        model=model or "unknown",
        count=1 if not whole else chosen.count,  # slices of one GPU cannot work together
        arch=arch,
        mig=not whole,
    )


def known_model(word: str, names) -> str:
    """The device that a word of Slurm's names, e.g. "a100" of "nvidia_a100-sxm4-40gb"; "" if
    none."""
    parts = re.split("[^a-z0-9]+", word.lower())
    return next((name for name in sorted(names, key=len, reverse=True) if name in parts), "")


def separate(partition, nodes: list, plan: Plan) -> list:
    """The kinds of node of a partition, each with the options that choose it.

    Returns:
        kinds with at least one working node; one that no option can choose is left out.
    """
    groups = {}
    for node in nodes:
        gpus = tuple(sorted(one for one in node.gres if one.name == "gpu"))
        cores = (node.sockets, node.cores_per_socket, node.threads_per_core)
        groups.setdefault((node.arch, *cores, gpus), []).append(node)
    kinds = []
    for group in groups.values():
        working = tuple(node for node in group if works(node))
        if not working:
            continue
        own = {node.name for node in group}
        others = [node for node in nodes if node.name not in own]
        options, label = chooses(group, others)
        if options is None:
            plan.notes.append(
                f"partition {partition.name}: {counted([n.name for n in working])} of "
                f"{hardware(working)}: no feature tells them from the others"
            )
            continue
        kinds.append(
            Kind(
                partition=partition,
                nodes=working,
                all_nodes=tuple(group),
                device=device(working[0]),
                options=options,
                label=label,
            )
        )
    return kinds


def chooses(group: list, others: list) -> tuple:
    """The options by which a job gets nodes of a group and none of the others.

    Returns:
        (options, label); (None, "") if there are none.
    """
    if not others:
        return (), ""
    own = frozenset.intersection(*(node.features for node in group))
    own -= frozenset().union(*(node.features for node in others))
    plain = [word for word in own if re.fullmatch("[A-Za-z0-9_.:-]+", word)]
    if plain:
        best = min(
            plain, key=lambda word: (not known_model(word, (*NVIDIA, *AMD)), len(word), word)
        )
        return (f"--constraint={best}",), best
    card = device(group[0])
    types = {one.type for node in others for one in node.gres if one.name == "gpu"}
    if card and card.type and card.type not in types:
        return (), card.type
    names = ",".join(sorted(node.name for node in others))
    label = card.type if card and card.type else f"{group[0].sockets * group[0].cores_per_socket}c"
    return ((f"--exclude={names}",), label) if len(names) <= MOST_EXCLUDED else (None, "")


def without_overlaps(kinds: list, plan: Plan) -> list:
    """The kinds without those whose nodes another one has, too: of these the largest stays, then
    that whose jobs may be longest."""

    def rank(kind: Kind) -> tuple:
        return (-len(kind.nodes), -(kind.partition.time_limit or 10**12))

    kept = []
    for kind in sorted(kinds, key=rank):
        names = {node.name for node in kind.nodes}
        same = next((k for k in kept if names <= {node.name for node in k.nodes}), None)
        if same is None:
            kept.append(kind)
            continue
        what = f"partition {kind.partition.name}" + (f" ({kind.label})" if kind.label else "")
        plan.notes.append(f"{what}: its nodes are all in {same.partition.name}")
    for i, kind in enumerate(kept):
        names = {node.name for node in kind.nodes}
        for other in kept[:i]:
            shared = len(names & {node.name for node in other.nodes})
            if shared:
                plan.todos.append(
                    f"partitions {other.partition.name} and {kind.partition.name} share {shared} "
                    "nodes and both are kept; delete one if that is more work than it tells"
                )
    return [kind for kind in kinds if kind in kept]


def safe_name(text: str, taken: set) -> str:
    """A name that ReFrame, YAML and a shell take as it is."""
    name = re.sub("[^A-Za-z0-9_]+", "_", text).strip("_") or "partition"
    if not name[0].isalpha():
        name = f"p_{name}"
    if name.lower() in YAML_WORDS:
        name = f"{name}_"
    number = 2
    unique = name
    while unique in taken:
        unique = f"{name}_{number}"
        number += 1
    return unique


def hardware(nodes) -> str:
    """One phrase: cores, threads, memory, devices."""
    node, card = nodes[0], device(nodes[0])
    threads = f" x {node.threads_per_core} threads" if node.threads_per_core > 1 else ""
    phrase = f"{node.sockets} x {node.cores_per_socket} cores{threads}"
    phrase += f", {min(n.memory_mb for n in nodes) / 1024:.0f} GiB"
    return phrase + (f", {card.count} x {card.model}" if card else "")


def entry(name: str, kind: Kind, engine: Optional[str]) -> dict:
    """A partition of ReFrame's configuration, in its own words."""
    node, card, limit = kind.nodes[0], kind.device, kind.partition.time_limit or DAY
    largest = min(len(kind.nodes), kind.partition.most_nodes or len(kind.nodes))
    many = largest > 1 and not (card and card.mig)
    features = ["compute", *(["multinode"] if many else []), *([card.kind] if card else [])]
    cpus = node.sockets * node.cores_per_socket * node.threads_per_core
    written = {
        "name": name,
        "descr": f"{number(kind.nodes)}: {hardware(kind.nodes)}",
        "scheduler": "slurm",
        "launcher": "srun",
        "access": [f"--partition={kind.partition.name}", "--no-requeue", *kind.options],
        "sched_options": {"use_nodes_option": True},
        "environs": ["native", *(["container"] if engine else [])],
        "max_jobs": 8,
        "time_limit": f"{min(limit, USUAL_S)}s",
        "features": features,
        "processor": {
            **({"arch": node.arch} if node.arch else {}),
            "num_cpus": cpus,
            "num_cpus_per_core": node.threads_per_core,
            "num_cpus_per_socket": cpus // node.sockets,
            "num_sockets": node.sockets,
        },
    }
    if engine:
        written["container_platforms"] = [{"type": engine, "default": True}]
    if card:
        facts = {"type": card.kind, "model": card.model, "num_devices": card.count}
        written["devices"] = [{**facts, **({"arch": card.arch} if card.arch else {})}]
        what = f"gpu:{card.type}" if card.type else "gpu"
        options = [f"--gres={what}:{{num_gpus_per_node}}"]
        written["resources"] = [{"name": "_rfm_gpu", "options": options}]
    memory = min(n.memory_mb for n in kind.nodes) * 2**20 / 1e9
    written["extras"] = {
        "max_nodes": largest if many else 1,
        "max_time_s": limit,
        "memory_gb": round(memory, 1),
        "launcher_options": list(LAUNCHER_OPTIONS),
    }
    return written


def questions(kind: Kind) -> list:
    """What Slurm does not say of a partition and a person should."""
    card, found = kind.device, []
    if kind.partition.time_limit is None:
        found.append("its jobs have no time limit; 24 hours are written as max_time_s")
    if kind.nodes[0].arch not in (*ARCHITECTURES, ""):
        found.append(
            f"its processors are {kind.nodes[0].arch} and no image of this suite exists for them; "
            "run natively, or give an image of your own with --image FILE.sif"
        )
    if card and card.mig:
        found.append(
            f"its GPUs are MIG slices ({card.type}), which cannot work together; jobs of one "
            "device are all that is written"
        )
    if card and card.kind == "amd_gpu":
        found.append(
            f"{card.model} is AMD's and no image of this suite has ROCm: checks run on the host "
            "processors only; with an image of your own (--image FILE.sif), change amd_gpu to gpu "
            "in features and devices"
        )
    elif card and card.kind == "other_gpu":
        found.append(
            f"nothing is known of its devices ({card.model}); if TensorFlow and Horovod drive "
            "them, change other_gpu to gpu in features and devices, and add arch to devices"
        )
    elif card and not card.arch:
        found.append("Slurm does not name its GPUs; add model and arch (e.g. sm_80) to devices")
    return found


def site_questions(kinds: list, engine: Optional[str], pmix: bool) -> list:
    """What is asked once for the whole site."""
    found = []
    if engine is None:
        found.append(
            "neither Apptainer nor Singularity is on the PATH; if a module brings it, load the "
            "module, remove both written files and run this command again"
        )
    if not pmix:
        found.append(
            "`srun --mpi=list` does not name PMIx; ask for it, or change launcher_options to what "
            "the MPI in use speaks"
        )
    if any(kind.device and len(kind.nodes) > 1 for kind in kinds):
        found.append(
            'with InfiniBand, add "network": "infiniband" to the extras of GPU partitions: the '
            "preflight then fails where NCCL falls back to sockets"
        )
    found.append("if jobs need a project, export SBATCH_ACCOUNT=PROJECT (and SBATCH_QOS=QOS)")
    return found
