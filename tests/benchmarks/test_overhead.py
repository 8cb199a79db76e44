"""The overhead workload without an image: its arithmetic, its refusals, and real ranks that take
turns."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies import overhead
from bigearth import record

ROOT = Path(__file__).parents[2]


def test_ratios_are_of_pairs():
    # a machine that slows down: medians of each side would hide the pairs
    drift = np.array([1.0, 2.0, 4.0, 8.0])
    row = overhead.summarise("step", list(drift), list(drift / [0.5, 0.8, 0.8, 1.0]))
    assert row["ratio"] == pytest.approx(0.8)
    assert row["ratio_p10"] == pytest.approx(np.percentile([0.5, 0.8, 0.8, 1.0], 10))
    assert row["ratio_p90"] == pytest.approx(np.percentile([0.5, 0.8, 0.8, 1.0], 90))
    assert (row["native"], row["pairs"]) == (3.0, 4)


class Stub:
    def __init__(self, name, calls):
        self.name, self._calls = name, calls

    def ask(self, quantity):
        self._calls.append((quantity, self.name))
        return float(len(self._calls))


def test_sides_take_turns_and_change_who_goes_first():
    calls = []
    sides = (Stub("native", calls), Stub("container", calls))
    times = overhead.measure(sides, overhead.OverheadConfig(image="cpu", repeats=4))
    measured = calls[2 * len(overhead.QUANTITIES) :]  # after the warm-up of both
    assert [name for quantity, name in measured if quantity == "step"] == [
        "container",
        "native",
        "native",
        "container",
    ] * 2
    assert all(len(times[q][side.name]) == 4 for q in overhead.QUANTITIES for side in sides)


@pytest.mark.parametrize(
    "options, says",
    [
        (["--image", "gpu"], "no image is called 'gpu'"),
        (["--image", "cpu", "--repeats", "1"], "--repeats is 1; expected at least 2"),
        ([], "--image is required"),
    ],
)
def test_refusals(options, says, tmp_path):
    command = [sys.executable, "-m", "benchmarks.studies.overhead", "--out", tmp_path, *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.mpi
def test_real_ranks_answer_with_their_times(tmp_path, monkeypatch):
    for name in (
        "OMPI_ALLOW_RUN_AS_ROOT",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
        "OMPI_MCA_rmaps_base_oversubscribe",
    ):
        monkeypatch.setenv(name, "1")
    data = tmp_path / "data"
    data.write_bytes(b"x" * 5_000_000)
    side = overhead.Side(
        "native", overhead.OverheadConfig(image="cpu"), [], sys.executable, tmp_path, str(data)
    )
    try:
        assert all(
            0 < side.ask(quantity) < 60
            for quantity in ("start_up", "all_reduce", "read", "all_reduce")
        )
    finally:
        side.stop()


@pytest.mark.mpi
def test_ranks_that_die_are_reported(tmp_path):
    side = overhead.Side(
        "native",
        overhead.OverheadConfig(image="cpu", launcher=""),
        [],
        sys.executable,
        tmp_path,
        "/not/there",
    )
    with pytest.raises(
        RuntimeError, match="native ranks gave no answer to 'read'(.|\n)*No such file"
    ):
        side.ask("read")


def test_the_record_has_ratios_and_the_time_that_a_container_adds(tmp_path):
    one = {"native": [1.0, 2.0, 3.0], "container": [2.0, 4.0, 6.0]}
    times = dict.fromkeys(overhead.QUANTITIES, one)
    rows = [overhead.summarise(name, **one) for name in overhead.QUANTITIES]
    config = overhead.OverheadConfig(image="cpu", out=str(tmp_path))
    overhead.write(config, times, rows, origin=("now", "sha256:1"))
    found = record.read(tmp_path / "result.json")
    for name in ("step", "all_reduce", "read"):
        assert found.value(f"container_{name}_ratio") == 0.5
    assert found.value("container_start_up") == 2.0
    assert len(found.tables["pairs"]) == 12 and found.provenance["image_digest"] == "sha256:1"
