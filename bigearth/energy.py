"""Joules of a stretch of work, from the best counter that this machine lets us read.

In this order: the GPU's total energy counter (NVML, from V100 on), its sampled power (NVML), the
processors' and memory's counters (RAPL, powercap), the job step's ConsumedEnergyRaw (Slurm). The
first three count what this rank's device or node used, the last one the whole step; `total` adds
each counter once. A GPU's counter does not hold the node's processors: the source is part of the
result. Without a counter the result is null, with the reason of every source.
"""

import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple, Optional

from bigearth import nvml as nvml_library
from bigearth.errors import one_line

POWERCAP = Path("/sys/class/powercap")
POWER_SECONDS = 0.1  # between two samples of power
# A package's counter wraps after 262 kJ, four minutes at 1 kW: it is read more often than that.
WRAP_SECONDS = 60.0


class Energy(NamedTuple):
    """What was used between `start` and `stop`.

    Attributes:
        joules: None if it could not be measured.
        source: which counter it is.
        counter: names the counter; ranks with the same one measured the same energy.
        reason: why there are no joules.
    """

    joules: Optional[float]
    source: Optional[str] = None
    counter: Optional[str] = None
    reason: Optional[str] = None


class Unavailable(Exception):
    """A source that cannot be read on this machine; says why."""


class NvmlCounter:
    """The GPU's own counter of millijoules since the driver was loaded."""

    source = "GPU energy counter (NVML)"
    seconds = WRAP_SECONDS

    def __init__(self, nvml, handle):
        self._nvml, self._handle = nvml, handle
        self.counter = nvml_library.uuid(nvml, handle)
        self._first = self._last = None
        self.sample(0.0)

    def sample(self, now: float) -> None:
        """Reads the counter; `now` in seconds is not needed."""
        try:
            self._last = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except (AttributeError, self._nvml.NVMLError) as error:
            raise Unavailable(f"no energy counter of the GPU: {one_line(error)}") from error
        if self._first is None:
            self._first = self._last

    def joules(self) -> float:
        """Since the first sample."""
        return (self._last - self._first) / 1000


class NvmlPower:
    """The GPU's power in milliwatts, integrated over the samples by the trapezoidal rule."""

    source = "GPU power, sampled (NVML)"
    seconds = POWER_SECONDS

    def __init__(self, nvml, handle, now: float):
        self._nvml, self._handle = nvml, handle
        self.counter = nvml_library.uuid(nvml, handle)
        self._joules, self._before = 0.0, None
        self.sample(now)

    def sample(self, now: float) -> None:
        """Adds the energy since the last sample; `now` in seconds."""
        try:
            watts = self._nvml.nvmlDeviceGetPowerUsage(self._handle) / 1000
        except (AttributeError, self._nvml.NVMLError) as error:
            raise Unavailable(f"no power of the GPU: {one_line(error)}") from error
        if self._before is not None:
            then, watts_then = self._before
            self._joules += (now - then) * (watts + watts_then) / 2
        self._before = now, watts

    def joules(self) -> float:
        """Since the first sample."""
        return self._joules


class Rapl:
    """Counters of microjoules of the node's processor packages and of the memory beside them.

    Cores and graphics inside a package, the whole-platform counter `psys` and the second way to
    the same package (`intel-rapl-mmio`) would be counted twice and are left out.
    """

    source = "processors and memory (RAPL)"
    seconds = WRAP_SECONDS

    def __init__(self, root: Path):
        self.counter = f"{socket.gethostname()} rapl"
        self._joules = 0.0
        self._domains = {}  # folder -> (microjoules read last, where the counter wraps)
        for folder in sorted(root.glob("*:*")):
            if re.fullmatch(r"[a-z]+-rapl:[0-9]+(:[0-9]+)?", folder.name):
                kind = _text(folder / "name")
                outer = folder.name.count(":") == 1
                if (outer and kind.startswith("package")) or (not outer and kind == "dram"):
                    wrap = _number(folder / "max_energy_range_uj")
                    self._domains[folder] = _number(folder / "energy_uj"), wrap
        if not self._domains:
            raise Unavailable(f"{root}: no RAPL counter of a processor package")

    def sample(self, now: float) -> None:
        """Adds the energy since the last sample; `now` in seconds is not needed."""
        for folder, (before, wrap) in self._domains.items():
            counted = _number(folder / "energy_uj")
            self._joules += (counted - before + (wrap if counted < before else 0)) / 1e6
            self._domains[folder] = counted, wrap

    def joules(self) -> float:
        """Since the counters were found."""
        return self._joules


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise Unavailable(
            f"{path}: {error.strerror} (often only root may read it; the site can allow it)"
        ) from error


def _number(path: Path) -> int:
    text = _text(path)
    if not re.fullmatch("[0-9]+", text):
        raise Unavailable(f"{path}: no whole number in it: {one_line(text)}")
    return int(text)


class Slurm:
    """Joules of the whole job step, as `sstat` reports them where the site has a plugin for it."""

    source = "job step (Slurm)"
    seconds = WRAP_SECONDS

    def __init__(self):
        job, step = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_STEP_ID")
        if not job:
            raise Unavailable("not in a Slurm job")
        self.counter = f"{job}.{step or 'batch'}"
        self._first = self._last = self._ask()

    def _ask(self) -> float:
        command = ["sstat", "--noheader", "--parsable2", "--format=ConsumedEnergyRaw"]
        command.append(f"--jobs={self.counter}")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"sstat does not answer: {one_line(error)}") from error
        answer = done.stdout.strip().split("\n")[0]
        if not re.fullmatch("[0-9]+", answer) or int(answer) == 0:
            raise Unavailable("Slurm counts no energy here (ConsumedEnergyRaw is empty or 0)")
        return float(answer)

    def sample(self, now: float) -> None:
        """Asks Slurm; `now` in seconds is not needed."""
        self._last = self._ask()

    def joules(self) -> float:
        """Since the first answer."""
        return self._last - self._first


class Meter:
    """Measures from `start` to `stop` with the first source that can be read.

    Args:
        local_rank: which of the node's devices is this rank's.
        powercap: root of the RAPL counters.
        nvml: the module, or a stand-in; by default what this machine has.
    """

    def __init__(self, local_rank: int = 0, powercap: Path = POWERCAP, nvml=None):
        self._local_rank, self._powercap, self._nvml = local_rank, Path(powercap), nvml
        self._source, self._reason = None, "not started"
        self._done = threading.Event()
        self._thread = None

    def start(self) -> None:
        """Finds the source and begins to count; a thread reads it now and then."""
        reasons = []
        self._source = None
        for open_source in (self._gpu_counter, self._gpu_power, self._rapl, Slurm):
            try:
                self._source = open_source()
                break
            except Unavailable as error:
                if str(error) not in reasons:
                    reasons.append(str(error))
        self._reason = "; ".join(reasons) if self._source is None else None
        self._done.clear()
        if self._source is not None:
            self._thread = threading.Thread(target=self._watch, name="energy", daemon=True)
            self._thread.start()

    def stop(self) -> Energy:
        """Ends the measurement."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._sample()
        if self._source is None or self._reason:
            return Energy(None, reason=self._reason)
        return Energy(self._source.joules(), self._source.source, self._source.counter)

    def _watch(self) -> None:
        while not self._done.wait(self._source.seconds):
            self._sample()

    def _sample(self) -> None:
        if self._reason:
            return  # energy that was missed does not come back
        try:
            self._source.sample(time.monotonic())
        except Unavailable as error:
            self._reason = f"the counter could not be read to the end: {error}"

    def _gpu(self) -> tuple:
        nvml, reason = (self._nvml, None) if self._nvml else nvml_library.load()
        if nvml is None:
            raise Unavailable(reason)
        try:
            return nvml, nvml_library.device(nvml, self._local_rank)
        except (IndexError, nvml.NVMLError) as error:
            raise Unavailable(f"NVML does not know this rank's GPU: {one_line(error)}") from error

    def _gpu_counter(self) -> NvmlCounter:
        return NvmlCounter(*self._gpu())

    def _gpu_power(self) -> NvmlPower:
        nvml, handle = self._gpu()
        return NvmlPower(nvml, handle, time.monotonic())

    def _rapl(self) -> Rapl:
        return Rapl(self._powercap)


def total(energies: list) -> Energy:
    """The energy of all ranks, each counter taken once.

    Args:
        energies: every rank's `Energy`.
    """
    missing = next((e for e in energies if e.joules is None), None)
    if missing is not None:
        return missing
    sources = sorted({e.source for e in energies})
    if len(sources) > 1:
        return Energy(None, reason=f"ranks have different counters: {', '.join(sources)}")
    counters = {}
    for energy in energies:
        counters.setdefault(energy.counter, energy.joules)
    names = ", ".join(counters) if len(counters) < 4 else f"{len(counters)} counters"
    return Energy(sum(counters.values()), sources[0], names)
