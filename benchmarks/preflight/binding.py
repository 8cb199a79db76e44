"""Which cores and devices each rank of a node may use: do ranks share them, and are they close to
each other?

A core is a physical one, named by the lowest of its hardware threads. A device is known
by its UUID, as every rank may see its own as number 0.
"""

import ctypes
import os
from pathlib import Path
from typing import Optional

from benchmarks.preflight.row import FAIL, PASS, WARN, row
from bigearth import machine

SYSTEM = Path("/sys")


def numbers(text: str) -> list:
    """The numbers of a list as the kernel writes it, e.g. "0-3,8"."""
    found = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1) if first else []
    return found


def core_of(thread: int, system: Path = SYSTEM) -> int:
    """The core that a hardware thread belongs to; the thread itself where that is not known."""
    file = system / f"devices/system/cpu/cpu{thread}/topology/thread_siblings_list"
    try:
        return min(numbers(file.read_text()))
    except (OSError, ValueError):
        return thread


def nodes_of(threads, system: Path = SYSTEM) -> list:
    """The NUMA nodes that hardware threads belong to; empty where that is not known."""
    found = []
    for folder in sorted((system / "devices/system/node").glob("node[0-9]*")):
        try:
            held = numbers((folder / "cpulist").read_text())
        except (OSError, ValueError):
            continue
        if set(held) & set(threads):
            found.append(int(folder.name[4:]))
    return found


def node_of_device(bus: str, system: Path = SYSTEM) -> Optional[int]:
    """The NUMA node of a PCI device, e.g. "0000:07:00.0"; None where that is not known."""
    try:
        node = int((system / f"bus/pci/devices/{bus.lower()}/numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def cuda_devices() -> list:
    """(UUID, PCI address) of each device that this process can use, in CUDA's order; empty without
    a driver. Restrictions by CUDA_VISIBLE_DEVICES and by the scheduler hold."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count, device = ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    found = []
    for index in range(count.value):
        uuid, bus = ctypes.create_string_buffer(16), ctypes.create_string_buffer(16)
        if (
            cuda.cuDeviceGet(ctypes.byref(device), index)
            or cuda.cuDeviceGetUuid(uuid, device)
            or cuda.cuDeviceGetPCIBusId(bus, 16, device)
        ):
            return []
        found.append((uuid.raw.hex(), bus.value.decode()))
    return found


def probe(local_rank: int, devices: list) -> dict:
    """This rank's threads, cores, their NUMA nodes, and the device that it will use.

    Args:
        devices: as `cuda_devices` returns them.
    """
    threads = sorted(os.sched_getaffinity(0))
    uuid, bus = devices[local_rank % len(devices)] if devices else (None, "")
    return {
        "threads": threads,
        "cores": sorted({core_of(thread) for thread in threads}),
        "nodes": nodes_of(threads),
        "device": uuid,
        "device_node": node_of_device(bus) if bus else None,
    }


def judge(host: str, facts: list) -> list:
    """Rows of one node: the binding of its ranks, cores and devices that ranks share, devices far
    from their rank's cores.

    Args:
        facts: of the node's ranks, each with `rank` and `binding` as `probe` returns it.
    """
    bound = {fact["rank"]: fact["binding"] for fact in facts}
    shown = "; ".join(
        f"rank {rank}: {machine.ranges(about['threads'])}" for rank, about in bound.items()
    )
    return [judge_cores(host, bound, shown), *judge_devices(host, bound)]


def judge_cores(host: str, bound: dict, shown: str) -> dict:
    sets = {rank: frozenset(about["cores"]) for rank, about in bound.items()}
    expected = "cores of its own for each rank"
    shared = _first_pair(sets, lambda one, other: one & other)
    if not shared:
        return row(host, "binding", PASS, found=shown, expected=expected)
    if len(set(sets.values())) == 1 and len(sets[shared[0]]) >= len(sets):  # nobody is bound
        remedy = "bind the ranks, e.g. with `srun --cpu-bind=cores`: they may hinder each other"
        return row(
            host,
            "binding",
            WARN,
            found=f"no rank is bound; {shown}",
            expected=expected,
            remedy=remedy,
        )
    cores = machine.ranges(sets[shared[0]] & sets[shared[1]])
    return row(
        host,
        "binding",
        FAIL,
        found=f"ranks {shared[0]} and {shared[1]} share the cores {cores}; {shown}",
        expected=expected,
        remedy="give each rank cores of its own: --cpus-per-task as the cores per rank and "
        "--cpu-bind=cores; with hardware threads also --hint=nomultithread",
    )


def judge_devices(host: str, bound: dict) -> list:
    own = {rank: about["device"] for rank, about in bound.items() if about["device"]}
    rows = []
    shared = _first_pair(own, lambda one, other: one == other)
    if shared:
        rows.append(
            row(
                host,
                "device sharing",
                FAIL,
                found=f"ranks {shared[0]} and {shared[1]} use one device ({own[shared[0]]})",
                expected="a device of its own for each rank",
                remedy="start as many ranks per node as there are devices, and ask for all of them",
            )
        )
    far = [
        rank
        for rank, about in bound.items()
        if about["device_node"] is not None
        and about["nodes"]
        and about["device_node"] not in about["nodes"]
    ]
    if far:
        rows.append(
            row(
                host,
                "device distance",
                WARN,
                found=f"rank(s) {machine.ranges(far)} run on another NUMA node than their device",
                expected="cores beside the device",
                remedy="bind by the device's NUMA node, e.g. `--gpu-bind=closest` or a rank order "
                "that follows `nvidia-smi topo -m`",
            )
        )
    return rows


def _first_pair(items: dict, meet):
    """The first two keys whose values meet, or None."""
    keys = list(items)
    for index, one in enumerate(keys):
        for other in keys[index + 1 :]:
            if meet(items[one], items[other]):
                return one, other
    return None
