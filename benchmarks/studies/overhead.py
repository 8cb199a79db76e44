"""What the container costs: start-up, training step, all-reduce and file read in an image against
the same outside it.

    python -m benchmarks.studies.overhead --image cpu --out DIR

One group of ranks is started natively and one in the image (hybrid model: the host's launcher, each
rank in a container). They stay alive and take turns, asleep while it is not theirs
(overhead_worker.py), so that each native measurement has a container's beside it in time and a
machine's drift does not enter their ratio. DIR/result.json: `tables.overhead` has a row {quantity,
unit, native, container (medians), ratio, ratio_p10, ratio_p90, pairs} each, ratio = native time /
container time: 1 is equal, below 1 the container is slower; `tables.pairs` has every measurement.
"""

import dataclasses
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Optional

import numpy as np

from bigearth import cli, provenance, record
from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError, disk_error
from bigearth.progress import Progress

RATIOS = ("step", "all_reduce", "read")
QUANTITIES = ("start_up", "step", "all_reduce", "read")
PATIENCE = 600.0  # seconds a worker may take to answer: TensorFlow's start and tracing included


@dataclasses.dataclass(frozen=True)
class OverheadConfig:
    image: str = option(REQUIRED, "image: a .sif file, or a name (cpu, v100, latest, k80)")
    out: str = option("results/overhead", "folder for result.json", repeats=True)
    launcher: str = option("mpirun -np 2", "how ranks are started")
    gpu: bool = option(False, "give the container the GPUs (--nv)")
    data: Optional[str] = option(
        None, "file to read; by default one of 256 MB is made", repeats=True
    )
    batch_size: int = option(8, "patches of a training step", least=1)
    repeats: int = option(
        20, "measurements of each quantity, native and container in turn", least=2
    )


class Side:
    """One of the two groups of ranks.

    Args:
        prefix: what stands between the launcher and the program: nothing, or `apptainer exec ...
            IMAGE`.
        python: the interpreter there.
    """

    def __init__(
        self, name: str, config: OverheadConfig, prefix: list, python: str, folder: Path, data: str
    ):
        self.name, self._folder = name, folder / name
        self._folder.mkdir()
        self._turn = 0
        self.start_up_command = [*prefix, python, "-c", "pass"]
        command = [
            *shlex.split(config.launcher),
            *prefix,
            python,
            "-m",
            "benchmarks.studies.overhead_worker",
        ]

        self._log = open(folder / f"{name}.log", "w+")  # noqa: SIM115
        self._worker = subprocess.Popen(
            [*command, str(self._folder), data, str(config.batch_size)],
            cwd=provenance.ROOT,
            stdout=self._log,
            stderr=self._log,
        )

    def ask(self, quantity: str) -> float:
        """Seconds that `quantity` took here, now."""
        if quantity == "start_up":
            start = time.perf_counter()
            subprocess.run(
                self.start_up_command, cwd=provenance.ROOT, check=True, stderr=subprocess.DEVNULL
            )
            return time.perf_counter() - start
        return float(self._say(quantity))

    def _say(self, word: str) -> str:
        answer = self._folder / f"{self._turn}.answer"
        request = self._folder / f"{self._turn}.partial"
        request.write_text(word)
        request.rename(self._folder / f"{self._turn}.request")
        self._turn += 1
        deadline = time.monotonic() + PATIENCE
        while not answer.exists():
            if self._worker.poll() is not None or time.monotonic() > deadline:
                self._log.seek(0)
                raise RuntimeError(
                    f"the {self.name} ranks gave no answer to '{word}':\n{self._log.read()[-3000:]}"
                )
            time.sleep(0.002)
        return answer.read_text()

    def stop(self) -> None:
        if self._worker.poll() is None:
            self._say("stop")
            self._worker.wait(60)
        self._log.close()


def check_image(image: str) -> tuple:
    """The image's file and digest.

    Raises:
        InputError: there is no such image, or it does not fit this host.
    """
    done = subprocess.run(
        [provenance.ROOT / "containers" / "check.sh", image], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise InputError(done.stderr.strip().replace("error: ", "", 1).split("\n")[-1])
    path = image if image.endswith(".sif") else provenance.ROOT / "containers" / f"{image}.sif"
    return os.path.abspath(path), done.stdout.strip()


def make_file(folder: Path) -> str:
    """A file of 256 MB to read."""
    path = folder / "read.bin"
    try:
        path.write_bytes(os.urandom(1 << 20) * 256)
    except OSError as error:
        raise disk_error(path, "write the file to read (256 MB)", error) from error
    return str(path)


def summarise(quantity: str, native: list, container: list) -> dict:
    """One row of `tables.overhead` from paired times in seconds."""
    ratios = np.array(native) / np.array(container)
    return {
        "quantity": quantity,
        "unit": "s",
        "native": float(np.median(native)),
        "container": float(np.median(container)),
        "ratio": float(np.median(ratios)),
        "ratio_p10": float(np.percentile(ratios, 10)),
        "ratio_p90": float(np.percentile(ratios, 90)),
        "pairs": len(ratios),
    }


def measure(sides: tuple, config: OverheadConfig) -> dict:
    """quantity -> {side: [seconds]}, side by side; who goes first changes from pair to pair."""
    times = {quantity: {side.name: [] for side in sides} for quantity in QUANTITIES}
    for side in sides:
        for quantity in QUANTITIES:
            side.ask(quantity)  # warm-up: tracing, first contact between ranks, page cache
    with Progress(config.repeats * len(QUANTITIES), "overhead", "pairs") as progress:
        for quantity in QUANTITIES:
            for pair in range(config.repeats):
                for side in sides if pair % 2 else reversed(sides):
                    times[quantity][side.name].append(side.ask(quantity))
                progress.update(1, quantity)
    return times


def both_sides(config: OverheadConfig, image: str) -> dict:
    """Starts both sides and measures them; quantity -> side -> seconds."""
    with tempfile.TemporaryDirectory(prefix="overhead.") as scratch:
        folder = Path(scratch)
        data = os.path.abspath(config.data) if config.data else make_file(folder)
        bound = (str(provenance.ROOT), scratch, os.path.dirname(data))
        binds = [word for path in bound for word in ("--bind", path)]
        gpu = ["--nv"] if config.gpu else []
        container = ["apptainer", "exec", *gpu, *binds, "--pwd", bound[0], image]
        sides = (
            Side("native", config, [], python=sys.executable, folder=folder, data=data),
            Side("container", config, container, python="python", folder=folder, data=data),
        )
        try:
            return measure(sides, config)
        finally:
            for side in sides:
                side.stop()


def ratios(times: dict, rows: list) -> dict:
    """The record's metrics."""
    by_name = {line["quantity"]: line for line in rows}
    found = {f"container_{name}_ratio": by_name[name]["ratio"] for name in RATIOS}
    start_up = times["start_up"]
    found["container_start_up"] = float(
        np.median(np.array(start_up["container"]) - np.array(start_up["native"]))
    )
    return {name: record.metric(name, value) for name, value in found.items()}


def start_sides(config: OverheadConfig, image: str, folder: Path) -> tuple:
    """Starts the native ranks and those in the image."""
    data = os.path.abspath(config.data) if config.data else make_file(folder)
    container = ["apptainer", "exec"] + (["--nv"] if config.gpu else [])
    for path in (provenance.ROOT, folder, os.path.dirname(data)):
        container += ["--bind", str(path)]
    container += ["--pwd", str(provenance.ROOT), image]
    return (
        Side("native", config, prefix=[], python=sys.executable, folder=folder, data=data),
        Side("container", config, prefix=container, python="python", folder=folder, data=data),
    )


def run(config: OverheadConfig) -> None:
    """Starts both sides, measures, writes the record."""
    start = provenance.now()
    image, digest = check_image(config.image)
    if config.data and not os.path.isfile(config.data):
        raise InputError(
            f"{config.data}: no such file; give --data a file to read, or leave it out"
        )
    if os.geteuid() == 0:  # Open MPI asks root twice
        os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    with tempfile.TemporaryDirectory(prefix="overhead.") as scratch:
        sides = start_sides(config, image, Path(scratch))
        try:
            times = measure(sides, config)
        finally:
            for side in sides:
                side.stop()
    rows = [
        summarise(quantity, times[quantity]["native"], times[quantity]["container"])
        for quantity in QUANTITIES
    ]
    write(config, times, rows, origin=(start, digest))
    print(f"{'':12}{'native':>10}{'container':>12}{'ratio':>8}   p10-p90")
    for line in rows:
        spread = f"{line['ratio_p10']:.3f}-{line['ratio_p90']:.3f}"
        print(
            f"{line['quantity']:12}{line['native']:>8.4f} s{line['container']:>10.4f} "
            f"s{line['ratio']:>8.3f}   {spread}"
        )


def write(config: OverheadConfig, times: dict, rows: list, origin: tuple) -> None:
    """Writes the record.

    Args:
        times: from `measure`; rows: from `summarise`.
        origin: when the study began, and the image's digest.
    """
    ratios = {f"container_{row['quantity']}_ratio": row["ratio"] for row in rows}
    metrics = {
        name: record.metric(name, ratios[name])
        for name in ("container_step_ratio", "container_all_reduce_ratio", "container_read_ratio")
    }
    begun = {side: np.array(seconds) for side, seconds in times["start_up"].items()}
    metrics["container_start_up"] = record.metric(
        "container_start_up", float(np.median(begun["container"] - begun["native"]))
    )
    pairs = [
        {"quantity": quantity, "pair": i, "native": native, "container": inside}
        for quantity, both in times.items()
        for i, (native, inside) in enumerate(zip(both["native"], both["container"]))
    ]
    host = socket.gethostname()
    start, digest = origin
    record.write(
        Path(config.out) / "result.json",
        record.Record(
            workload="overhead",
            config=dataclasses.asdict(config),
            metrics=metrics,
            ranks=[{"rank": 0, "hostname": host, "device": "GPU" if config.gpu else "CPU"}],
            tables={"overhead": rows, "pairs": pairs},
            files={},
            provenance=provenance.gather(start, [host], None, image_digest=digest),
            repeats=cli.repeats(type(config)),
        ),
    )


if __name__ == "__main__":
    cli.main(
        OverheadConfig,
        run,
        cli.Program(
            module="benchmarks.studies.overhead",
            description="Measure what running in an image costs, against running natively.",
            example="--image cpu --out results/overhead",
        ),
    )
