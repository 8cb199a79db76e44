"""Made-up result records of the real shape, for the tests of plots."""

import math

import numpy as np

from bigearth import record
from bigearth.nomenclature import CLASSES

TREE = {
    "factors": {
        "device_utilisation": {"value": 0.5, "interval": [0.4, 0.6], "loss": 0.25},
        "computation_scaling": {"value": 0.8, "interval": None, "loss": 0.125},
        "load_balance": {"value": None, "reason": "BatchNorm over all ranks"},
        "communication": {"value": None, "reason": "BatchNorm over all ranks"},
        "input": {"value": 1.25, "interval": [1.1, 1.4], "loss": -0.1},
        "epoch_overhead": {"value": 0.5, "interval": None, "loss": 0.5},
    },
    "levels": {
        "ceiling": 0.04,
        "alone": 0.08,
        "local": 0.1,
        "resident": 0.125,
        "full": 0.1,
        "total": 0.2,
    },
    "sentence": "2 ranks: 0.40 of ideal; lost: 50.0% to work outside steps",
}


def epochs(count=5, time=20.0, seed=0):
    """Rows of tables.epochs: a loss that falls, scores that rise."""
    rng = np.random.default_rng(seed)
    return [
        {
            "epoch": e,
            "time": time * (1.6 if e == 1 else 1) * (1 + 0.01 * rng.standard_normal()),
            "throughput": 240 / time,
            "learning_rate": 0.05 * min(1.0, e / 2),
            "train_loss": 0.7 * math.exp(-0.3 * e) + 0.15,
            "val_loss": 0.7 * math.exp(-0.25 * e) + 0.18 + 0.01 * rng.standard_normal(),
            "val_f1_micro": 0.6 * (1 - math.exp(-0.4 * e)) + 0.01 * rng.standard_normal(),
            "val_f1_macro": 0.3 * (1 - math.exp(-0.3 * e)) + 0.01 * rng.standard_normal(),
        }
        for e in range(1, count + 1)
    ]


def per_class(seed=0):
    """Rows of tables.per_class: scores grow with support, one class has none."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, c in enumerate(CLASSES):
        f1 = float(np.clip(0.12 * math.log10(c.count) + 0.1 * rng.standard_normal() + 0.15, 0, 1))
        rows.append(
            {
                "label": c.label,
                "support": c.count // 500 if i else 0,
                "precision": min(1, f1 * 1.1),
                "recall": f1 * 0.9,
                "f1": f1,
            }
        )
    return rows


def samples(folder, count=6, seed=0):
    """samples.npz as training writes it."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((count, 43), np.uint8)
    score = rng.random((count, 43)).astype(np.float32) * 0.3
    for i in range(count):
        chosen = rng.choice(43, 3, replace=False)
        truth[i, chosen] = 1
        score[i, chosen[:2]] = 0.5 + 0.5 * rng.random(2)
        score[i, rng.integers(43)] = 0.62
    smooth = rng.random((count, 6, 6, 3)).repeat(20, axis=1).repeat(20, axis=2)
    names = np.array([f"S2A_MSIL2A_20170717T113321_{i}_{i + 30}" for i in range(count)])
    np.savez(
        folder / "samples.npz",
        rgb=(smooth * 255).astype(np.uint8),
        truth=truth,
        score=score,
        names=names,
    )


def train(
    folder,
    nodes=1,
    per_node=2,
    system="local",
    seed=0,
    time=None,
    f1=0.55,
    config=None,
    start=None,
    epoch_count=5,
    **more,
):
    """Writes one training's result.json (and samples.npz) into a folder; `more` replaces parts of
    the record."""
    folder.mkdir(parents=True, exist_ok=True)
    devices = nodes * per_node
    rng = np.random.default_rng([seed, nodes, per_node])
    time = time or 40.0 / devices * (1 + 0.02 * math.log2(devices)) * (
        1 + 0.01 * rng.standard_normal()
    )
    rows = epochs(epoch_count, time, seed)
    hosts = [f"{system}{n:02d}" for n in range(nodes)]
    ranks = []
    for r in range(devices):
        p50 = time / 10 * (1 + 0.02 * abs(rng.standard_normal()))
        step = {
            "min": p50 * 0.9,
            "p10": p50 * 0.95,
            "p50": p50,
            "p90": p50 * 1.1,
            "p99": p50 * 1.3,
            "max": p50 * 1.5,
            "mean": p50 * 1.01,
        }
        ranks.append(
            {
                "rank": r,
                "local_rank": r % per_node,
                "hostname": hosts[r // per_node],
                "device": "CPU",
                "step_time": step,
                "phases": {
                    "start": 12.0,
                    "input": 0.4 * time,
                    "forward and backward": 3.2 * time,
                    "all-reduce": 0.8 * time,
                },
            }
        )
    values = {
        "time_per_epoch": time,
        "throughput": 240 / time,
        "throughput_per_device": 240 / time / devices,
        "step_time": time / 10,
    }
    values.update(
        f1_micro=f1, f1_macro=f1 / 2, precision_micro=f1 + 0.05, recall_micro=f1 - 0.05, loss=0.3
    )
    metrics = {name: record.metric(name, value) for name, value in values.items()}
    metrics["step_time"] = record.metric("step_time", None, "fewer than two steps")
    samples(folder, seed=seed)
    start = start or f"2026-11-{1 + seed % 28:02d}T03:00:00+00:00"
    content = dict(
        workload="train",
        repeats=("seed",),
        config={"bands": "multispectral", "batch": 16, "epochs": 5, "seed": seed, **(config or {})},
        metrics=metrics,
        ranks=ranks,
        tables={"epochs": rows, "per_class": per_class(seed)},
        files={"samples": "samples.npz"},
        efficiency=TREE,
        provenance={
            "git_commit": "0" * 40,
            "image_digest": None,
            "nodelist": hosts,
            "dataset_digest": "sha256:" + "1" * 64,
            "train_patches": 311_535,
            "start_time": start,
            "end_time": start,
            "system": system,
            "processor": "a processor",
        },
    )
    content.update(more)
    record.write(folder / "result.json", record.Record(**content))
    return folder / "result.json"


def batch_study(folder, seeds=3, failed=False):
    """Writes the record of a batch study as `benchmarks.studies.batch_size` does: F1 of each
    recipe, batch and bands, one row per seed."""
    rng = np.random.default_rng(0)
    means = {("paper", "multispectral", "small"): 0.64, ("paper", "multispectral", "large"): 0.52}
    means.update(
        {
            ("modern", "multispectral", "small"): 0.66,
            ("modern", "multispectral", "large"): 0.655,
            ("modern", "rgb", "small"): 0.6,
        }
    )
    rows = []
    for seed in range(seeds):
        for (recipe, bands, batch), mean in means.items():
            f1 = mean + 0.01 * rng.standard_normal()
            row = {
                "recipe": recipe,
                "bands": bands,
                "batch": batch,
                "seed": seed,
                "f1_micro": f1,
                "f1_macro": f1 / 2,
            }
            rows.append({**row, "time_per_epoch": 20.0, "failure": None})
    if failed:
        rows[1].update(
            f1_micro=0.0, f1_macro=0.0, time_per_epoch=None, failure="error: the loss is nan"
        )
    folder.mkdir(parents=True, exist_ok=True)
    content = dict(
        config={"batch_size": 16, "factor": 16, "seeds": seeds},
        metrics={},
        ranks=[{"rank": 0, "hostname": "n1"}],
    )
    provenance = {
        "system": "local",
        "start_time": "2026-11-20T03:00:00+00:00",
        "nodelist": ["n1"],
        "dataset_digest": "sha256:1",
    }
    record.write(
        folder / "result.json",
        record.Record(
            workload="batch_study",
            tables={"runs": rows},
            files={},
            provenance=provenance,
            **content,
        ),
    )
    return folder / "result.json"
