"""What a partition says of itself, in ReFrame's words: features, devices, processor, time limit.

`extras` add what ReFrame has no word for; all are optional (see settings/common.py). Pure functions
of a partition's entry in the configuration, so that the launcher needs no ReFrame for them.
"""

import re
from dataclasses import dataclass
from typing import Optional

UNKNOWN_SIZE = 2  # nodes of the largest job, where a partition does not state `max_nodes`
SLURM = ("slurm", "squeue")


@dataclass(frozen=True)
class Partition:
    """A partition as the checks see it.

    Attributes:
        features: as stated, with what follows from the rest: `gpu` where there are devices of that
            type; `compute` and `multinode` where a configuration does not use these words.
        scheduler: ReFrame's name for it.
        devices: GPUs per node; arch: e.g. "sm_80", or "" if it is not stated.
        ranks_per_node: one per device, else one per socket.
        cores: physical cores per node; None if they are not stated.
        threads_per_core: hardware threads; more than 1 is SMT.
        max_nodes: the largest job.
        longest: seconds that a job may take; None if there is no limit.
        usual: seconds that a job asks for whose time no reference states; None without a limit.
        extras: as stated.
    """

    name: str
    features: frozenset
    scheduler: str
    devices: int
    arch: str
    ranks_per_node: int
    cores: Optional[int]
    threads_per_core: int
    max_nodes: int
    longest: Optional[int]
    usual: Optional[int]
    extras: dict

    def cores_per_rank(self, ranks: int) -> Optional[int]:
        """Cores of each of a node's ranks. Fewer ranks than usual get no more cores: one of four
        devices is measured with a quarter of the node."""
        given = self.extras.get("cores_per_rank")
        if not self.cores:
            return given
        share = self.cores // max(ranks, 1 if given else self.ranks_per_node)
        return max(1, min(given or share, share))

    def can_run(self, needed: set, point: dict) -> bool:
        """Whether it has the features and is large enough for a point of a check."""
        limits = {"nodes": self.max_nodes, "devices": self.devices}
        return needed <= self.features and all(
            point.get(name, 0) <= limit for name, limit in limits.items()
        )


def of_configuration(entries: list) -> dict:
    """name -> Partition of every entry of a system's `partitions`."""
    stated = any("compute" in (entry.get("features") or ()) for entry in entries)
    remote = [entry["name"] for entry in entries if entry["scheduler"] != "local"]
    workers = [] if stated else remote or [entry["name"] for entry in entries]
    return {entry["name"]: _partition(entry, entry["name"] in workers) for entry in entries}


def of_reframe(system) -> dict:
    """The same of ReFrame's own objects (`runtime().system`)."""
    return of_configuration(
        [
            {
                "name": p.name,
                "scheduler": p.scheduler.registered_name,
                "features": p.features,
                "devices": [device.info for device in p.devices],
                "processor": p.processor.info,
                "extras": p.extras,
                "time_limit": p.time_limit,
            }
            for p in system.partitions
        ]
    )


def _partition(entry: dict, works: bool) -> Partition:
    extras = dict(entry.get("extras") or {})
    cards = [card for card in entry.get("devices") or () if card.get("type") == "gpu"]
    devices = sum(card.get("num_devices", 1) for card in cards)
    features = set(entry.get("features") or ()) | ({"gpu"} if devices else set())
    if works:
        features |= {"compute"} | ({"multinode"} if entry["scheduler"] != "local" else set())
    processor = entry.get("processor") or {}
    threads = processor.get("num_cpus_per_core") or 1
    cpus = processor.get("num_cpus")
    largest = extras.get("max_nodes") or (UNKNOWN_SIZE if "multinode" in features else 1)
    limits = [extras.get("max_time_s"), seconds(entry.get("time_limit"))]
    return Partition(
        name=entry["name"],
        features=frozenset(features),
        scheduler=entry["scheduler"],
        devices=devices,
        arch=next((card["arch"] for card in cards if card.get("arch")), ""),
        ranks_per_node=extras.get("ranks_per_node") or devices or processor.get("num_sockets") or 1,
        cores=cpus and cpus // threads,
        threads_per_core=threads,
        max_nodes=largest,
        longest=next((limit for limit in limits if limit), None),
        usual=next((limit for limit in reversed(limits) if limit), None),
        extras=extras,
    )


def seconds(limit: Optional[str]) -> Optional[int]:
    """Seconds of ReFrame's time limit, e.g. "1d2h30m"; None if there is none."""
    parts = re.fullmatch(
        "(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?", str(limit or "")
    )
    if not parts or not parts.group():
        return None
    return sum(int(n or 0) * size for n, size in zip(parts.groups(), (86400, 3600, 60, 1)))
