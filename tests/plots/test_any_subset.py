"""Whatever part of the results is there, every picture is drawn, and what is missing is said."""

import math
from pathlib import Path

import matplotlib.pyplot as plt
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bigearth.learn.efficiency import FACTORS, LEVELS
from plots import figures
from reframe_tests.results.runs import Run
from tests.plots.example_results import epochs, per_class

VALUES = st.one_of(
    st.none(),
    st.just(math.nan),
    st.sampled_from([0.0, 1e-12, 0.5, 20.0, 1e9, math.inf]),
    st.floats(0.001, 1000),
)
METRICS = ("time_per_epoch", "f1_micro", "throughput_per_device")


@st.composite
def runs(draw):
    """A run of any system and size, with any part of its metrics, tables, ranks and files missing
    or not finite."""
    nodes, per_node = draw(st.sampled_from([1, 1, 2, 4, 24])), draw(st.sampled_from([1, 2, 4]))
    metrics = {
        name: {"value": draw(VALUES), "unit": "1"} for name in METRICS if draw(st.booleans())
    }
    tables = {}
    if draw(st.booleans()):
        tables["epochs"] = epochs(draw(st.integers(0, 3)))
        for row in tables["epochs"]:
            row[draw(st.sampled_from(sorted(row)))] = draw(VALUES)
    if draw(st.booleans()):
        tables["per_class"] = per_class()[: draw(st.sampled_from([0, 1, 43]))]
        for row in tables["per_class"][:3]:
            row[draw(st.sampled_from(sorted(row)))] = draw(VALUES)
    count = draw(st.sampled_from([0, nodes * per_node]))
    steps = [draw(st.sampled_from([None, 0.5, math.nan, 0.0])) for _ in range(count)]
    hosts = [f"n{r // per_node}" for r in range(count)]
    tables["ranks"] = [
        {"rank": r, "hostname": host, "step_time": step}
        for r, (host, step) in enumerate(zip(hosts, steps))
    ]
    factors = {
        name: {"value": draw(VALUES), "loss": draw(VALUES), "interval": [draw(VALUES), 1.1]}
        for name in draw(st.sets(st.sampled_from(list(FACTORS))))
    }
    levels = {name: draw(VALUES) for name in LEVELS}
    return Run(
        id=str(draw(st.integers())),
        path=Path("result.json"),
        workload=draw(st.sampled_from(["train", "train", "train", "prepare"])),
        system=draw(st.sampled_from(["juwels:gpu", "a system with a rather long name"])),
        nodes=nodes,
        devices=nodes * per_node,
        time=draw(st.sampled_from(["", "2026-11-01T00:00:00+00:00"])),
        experiment={"bands": draw(st.sampled_from(["rgb", "multispectral"]))},
        metrics=metrics,
        tables=tables,
        files={"samples": "samples.npz"} if draw(st.booleans()) else {},
        efficiency={"factors": factors, "levels": levels} if draw(st.booleans()) else {},
    )


@settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(st.lists(runs(), min_size=0, max_size=8))
def test_every_picture_is_drawn_from_any_subset(found):
    for panel in figures.PANELS:
        rows, notes = panel.rows(found)
        assert rows or notes, f"{panel.name}: nothing drawn and nothing said"
        if rows:
            assert set().union(*rows) - {"_pixels"} <= {
                *panel.columns,
                "precision",
                "recall",
                "precision_deviation",
                "recall_deviation",
            }
            picture = panel.draw(rows)
            picture.canvas.draw()
            plt.close(picture)
