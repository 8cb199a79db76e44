"""What a training's record says of its energy."""

import types

from benchmarks.train import NOT_TRAINED, energy_metrics
from bigearth.energy import Energy

ROWS = [{"seconds": [0.1] * 9}, {"seconds": [0.1] * 10}]  # the first step is not among them


def of(used, rows=ROWS):
    found = energy_metrics(types.SimpleNamespace(step_times=rows), used, 64)
    return found["energy_per_epoch"], found["images_per_joule"]


def test_joules_are_shared_by_epochs_and_images():
    per_epoch, images = of(Energy(640.0, "s", "c"))
    assert per_epoch["value"] == 320.0 and images["value"] == 20 * 64 / 640


def test_what_was_not_counted_is_null_with_its_reason():
    for used, rows, reason in (
        (Energy(None, reason="no counter"), ROWS, "no counter"),
        (Energy(0.0, "s", "c"), ROWS, "the counter did not move"),
        (Energy(5.0, "s", "c"), [], NOT_TRAINED),
    ):
        for entry in of(used, rows):
            assert entry["value"] is None and entry["reason"] == reason
