"""Time per epoch on machines and at sizes that were not measured.

A step is what the slowest of n devices computes, plus the part of the all-reduce that does not
hide behind the backward pass, but at least what the input takes. An epoch is its steps and a fixed
overhead. The all-reduce costs latency and bytes over bandwidth, within a node and between nodes,
along a ring or a tree, whichever is faster.

Two ways in: the figures of a machine (`Machine`, nothing is fitted), or the times of a sweep
(`fit`). Each prediction has a 95 % interval, or None with the reason.
"""

import dataclasses
import functools
import math
from typing import NamedTuple, Optional, Tuple

import numpy as np

LEVEL = 0.95
DRAWS = 2000  # of the figures' ranges
BACKWARD = 2 / 3  # of a step's operations are in the backward pass, behind which messages can hide


class Link(NamedTuple):
    """A network: seconds per message and bytes per second."""

    latency: float
    bandwidth: float


class Work(NamedTuple):
    """What is trained.

    Attributes:
        images: samples of the train split.
        batch_size: samples per device and step.
        gradient_bytes: that all ranks reduce in a step.
        groups: all-reduces in a step.
    """

    images: int
    batch_size: int
    gradient_bytes: float
    groups: int = 4

    def steps(self, devices: int) -> int:
        """Steps per epoch; samples that do not fill a step are left out.

        Raises:
            ValueError: not one step.
        """
        steps = self.images // (self.batch_size * devices)
        if steps < 1:
            raise ValueError(f"{self.images} samples do not fill one step of {devices} devices")
        return steps


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine as its figures.

    Attributes:
        step_time: seconds that one device computes per step, alone and fed from memory.
        devices_per_node: devices.
        inside, between: the network of a node, and that between nodes (per node).
        spread: standard deviation of a device's step time over its mean.
        overlap: part of the all-reduce that hides behind the backward pass, 0 to 1.
        input_throughput: samples/s that the storage gives per node; None: no limit.
        epoch_overhead: seconds per epoch outside steps (validation, checkpoint, barrier).
    """

    step_time: float
    devices_per_node: int
    inside: Link
    between: Link
    spread: float = 0.0
    overlap: float = 0.0
    input_throughput: Optional[float] = None
    epoch_overhead: float = 0.0


class Prediction(NamedTuple):
    """Seconds per epoch on so many devices; the interval is None with a reason."""

    devices: int
    seconds: float
    interval: Optional[Tuple[float, float]]
    reason: Optional[str] = None


@functools.cache
def expected_maximum(n: int) -> float:
    """The expected largest of n independent standard normal numbers: how many standard deviations
    the slowest of n equal devices is behind the mean."""
    if n <= 1:
        return 0.0
    # E max = the integral of 1 - F over positive x, less that of F over negative x
    x = np.linspace(0.0, 10.0, 10_001)
    upper = np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in x])
    return _area(1 - (1 - upper) ** n, x) - _area(upper**n, x)


def _area(values: np.ndarray, x: np.ndarray) -> float:
    return float(((values[1:] + values[:-1]) / 2 * np.diff(x)).sum())


def ring(members: int, size: float, link: Link) -> float:
    """Seconds of a ring all-reduce of `size` bytes: reduce-scatter and all-gather."""
    hops = 2 * (members - 1)
    return hops * (link.latency + size / members / link.bandwidth)


def tree(members: int, size: float, link: Link) -> float:
    """Seconds of a pipelined tree: up and down its levels, every byte twice over a link."""
    if members == 1:
        return 0.0
    return 2 * math.ceil(math.log2(members)) * link.latency + 2 * size / link.bandwidth


def allreduce_time(machine: Machine, devices: int, size: float) -> float:
    """Seconds of one all-reduce over all devices: within the nodes, then between them."""
    within = min(devices, machine.devices_per_node)
    nodes = math.ceil(devices / machine.devices_per_node)
    return sum(
        min(ring(members, size, link), tree(members, size, link))
        for members, link in ((within, machine.inside), (nodes, machine.between))
    )


def step_parts(machine: Machine, work: Work, devices: int) -> dict:
    """Seconds of one step by what takes them.

    Returns:
        {"compute", "stragglers", "communication": the exposed part, "input": waiting for samples}.
    """
    compute = machine.step_time
    stragglers = compute * machine.spread * expected_maximum(devices)
    group = work.gradient_bytes / work.groups
    whole = work.groups * allreduce_time(machine, devices, group)
    hidden = min(machine.overlap * whole, BACKWARD * compute)
    busy = compute + stragglers + whole - hidden
    feeding = 0.0
    if machine.input_throughput:
        within = min(devices, machine.devices_per_node)
        feeding = work.batch_size * within / machine.input_throughput
    return {
        "compute": compute,
        "stragglers": stragglers,
        "communication": whole - hidden,
        "input": max(0.0, feeding - busy),
    }


def epoch_time(machine: Machine, work: Work, devices: int) -> float:
    """Seconds per epoch."""
    return (
        work.steps(devices) * sum(step_parts(machine, work, devices).values())
        + machine.epoch_overhead
    )


def predict_machine(machines: list, work: Work, devices: int) -> Prediction:
    """Seconds per epoch of a machine whose figures are known to a range.

    Args:
        machines: the machine at its best guess, then any number of draws from the ranges.
    """
    times = [epoch_time(machine, work, devices) for machine in machines]
    if len(times) == 1:
        return Prediction(devices, times[0], None, reason="the figures have no ranges")
    low, high = np.quantile(times[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Prediction(devices, times[0], (min(low, times[0]), max(high, times[0])))


class Fit(NamedTuple):
    """What a sweep says; every cost is at least 0.

    Attributes:
        compute: seconds per step on a device.
        inverse_bandwidth: seconds per byte of the exposed all-reduce.
        latency: seconds per step and level of a tree over the devices.
        overhead: seconds per epoch.
        residual: standard deviation of the relative errors; None: as many costs as points.
        freedom: points less costs that are not 0.
        places: (m,) logarithms of the devices that were measured.
    """

    compute: float
    inverse_bandwidth: float
    latency: float
    overhead: float
    residual: Optional[float]
    freedom: int
    places: tuple


def _shape(work: Work, devices: int) -> list:
    """What one unit of each cost of `Fit` adds to the seconds of an epoch, the likeliest first."""
    steps = work.steps(devices)
    travelling = 2 * (devices - 1) / devices * work.gradient_bytes
    return [
        steps,
        steps * travelling,
        1.0,
        steps * math.log2(devices),
    ]


def fit(work: Work, times: dict) -> Fit:
    """Fits the costs to a sweep, by least squares of relative errors.

    Never more costs than points less one, so that something is left to see errors by: compute,
    then bandwidth, overhead and latency as the points allow.

    Args:
        times: devices -> seconds per epoch.

    Raises:
        ValueError: fewer than two sizes.
    """
    from scipy.optimize import nnls

    if len(times) < 2:
        raise ValueError(f"{len(times)} size(s) measured, expected at least two")
    devices = sorted(times)
    seconds = np.array([times[n] for n in devices])
    costs = min(4, max(1, len(devices) - 1))
    design = np.array([_shape(work, n)[:costs] for n in devices]) / seconds[:, None]
    scale = design.max(axis=0)
    found, _ = nnls(design / scale, np.ones(len(devices)))
    errors = design / scale @ found - 1
    freedom = len(devices) - int((found > 0).sum())
    residual = math.sqrt(float(errors @ errors) / freedom) if freedom else None
    compute, inverse, overhead, latency = [*(found / scale), 0.0, 0.0, 0.0][:4]
    return Fit(
        compute=float(compute),
        inverse_bandwidth=float(inverse),
        latency=float(latency),
        overhead=float(overhead),
        residual=residual,
        freedom=freedom,
        places=tuple(math.log(n) for n in devices),
    )


def predict_fit(fitted: Fit, work: Work, devices: int, resolution: float = 0.0) -> Prediction:
    """Seconds per epoch on so many devices, from the fit of a sweep.

    The interval grows with the distance from what was measured, as if the relative errors had a
    slope that the sweep could not show; Student's law for the few points.

    Args:
        resolution: half of the last digit that the times were printed with, in seconds.
    """
    costs = (fitted.compute, fitted.inverse_bandwidth, fitted.overhead, fitted.latency)
    seconds = float(np.dot(costs, _shape(work, devices)))
    if fitted.residual is None:
        return Prediction(
            devices, seconds, None, reason="as many costs were fitted as there are points"
        )
    from scipy.stats import t

    places = np.array(fitted.places)
    away = (math.log(devices) - places.mean()) ** 2 / ((places - places.mean()) ** 2).sum()
    variance = fitted.residual**2 * (1 + 1 / len(places) + away) + (resolution / seconds) ** 2 / 3
    width = math.sqrt(variance) * float(t.ppf((1 + LEVEL) / 2, fitted.freedom))
    return Prediction(devices, seconds, (seconds * math.exp(-width), seconds * math.exp(width)))


def leave_one_out(work: Work, times: dict) -> list:
    """Each size predicted from the others.

    Returns:
        rows {devices, measured, predicted, error: relative}; empty for fewer than three sizes.
    """
    if len(times) < 3:
        return []
    rows = []
    for left in sorted(times):
        fitted = fit(work, {n: s for n, s in times.items() if n != left})
        predicted = predict_fit(fitted, work, left).seconds
        rows.append(
            {
                "devices": left,
                "measured": times[left],
                "predicted": predicted,
                "error": predicted / times[left] - 1,
            }
        )
    return rows


def fit_link(sizes: list, seconds: list, members: int) -> Optional[Link]:
    """Latency and bus bandwidth of an all-reduce from its times, by least squares of relative
    errors; None where the times do not grow with the bytes.

    Args:
        sizes: bytes; seconds: of one all-reduce over `members` ranks, as a ring.
    """
    from scipy.optimize import nnls

    if members < 2 or len(sizes) < 2:
        return None
    times = np.array(seconds)
    design = np.stack(
        [
            np.full(len(sizes), 2.0 * (members - 1)) / times,
            2 * (members - 1) / members * np.array(sizes, float) / times,
        ],
        axis=1,
    )
    scale = design.max(axis=0)
    found, _ = nnls(design / scale, np.ones(len(sizes)))
    latency, inverse = found / scale
    return Link(float(latency), float(1 / inverse)) if inverse > 0 else None


def extrap_text(times: dict, metric: str = "time") -> str:
    """A sweep in the text format of Extra-P.

    Args:
        times: devices -> list of seconds per epoch, one per repetition.
    """
    devices = sorted(times)
    lines = [
        "PARAMETER devices",
        "",
        "POINTS " + " ".join(f"( {n} )" for n in devices),
        "",
        "REGION epoch",
        f"METRIC {metric}",
        *("DATA " + " ".join(f"{value:.9g}" for value in times[n]) for n in devices),
    ]
    return "\n".join(lines) + "\n"
