"""What a result record must show before any of its numbers is believed. Pure functions of the
record, each fault one sentence."""

from typing import Iterator

from bigearth import constant
from bigearth.record import is_number

F1_MARGIN = 0.02  # the F1 floor lies this much above the best constant guess


def common_faults(record: dict, workload: str, ranks: int, nodes: int) -> Iterator[str]:
    """Faults that any workload's record can have.

    Args:
        workload: the record's expected workload.
        ranks, nodes: how many were asked for.
    """
    if record["workload"] != workload:
        yield f"the record is of workload {record['workload']!r}, expected {workload!r}"
    found = sorted(row["rank"] for row in record["ranks"])
    if found != list(range(ranks)):
        yield (
            f"the record has ranks {found}, expected 0 to {ranks - 1}: not every rank that was "
            "asked for took part"
        )
    hosts = {row["hostname"] for row in record["ranks"]}
    if len(hosts) != nodes:
        yield (
            f"the ranks ran on {len(hosts)} node(s) ({', '.join(sorted(hosts))}), expected {nodes}"
        )


def training_faults(record: dict, data: dict) -> Iterator[str]:
    """Faults of any training run's record.

    Args:
        data: what benchmarks.describe says of the file that was trained on.
    """
    losses = [row["train_loss"] for row in record["tables"]["epochs"]]
    # a timing run ends when its steps are known well enough
    whole = not record["provenance"].get("measured")
    if not losses or (whole and len(losses) != record["config"]["epochs"]):
        yield f"the record has {len(losses)} epochs, expected {record['config']['epochs']}"
    elif not all(is_number(loss) for loss in losses):
        yield f"the training loss is not finite: {losses}"
    if record["provenance"]["dataset_digest"] != data["digest"]:
        yield f"trained on data {record['provenance']['dataset_digest']}, expected {data['digest']}"
    scored, held = (
        [row["support"] for row in record["tables"]["per_class"]],
        data["splits"]["test"]["support"],
    )
    if scored != held:
        yield (
            f"the scores count {sum(scored)} test labels, the file holds {sum(held)}: not every "
            "test sample was scored exactly once"
        )
    asked, done = data["splits"]["test"]["patches"], record["provenance"]["test_patches_scored"]
    if asked != done:
        yield f"{done} test patches were scored, the file holds {asked}"


def learning_faults(record: dict, data: dict) -> Iterator[str]:
    """Signs that nothing was learned, though every number is in order."""
    losses = [row["train_loss"] for row in record["tables"]["epochs"]]
    if not losses[-1] < losses[0]:
        yield (
            f"the training loss did not fall: {losses[0]:.4f} in the first epoch, "
            f"{losses[-1]:.4f} in the last"
        )
    floor, f1 = f1_floor(data["splits"]["test"]), record["metrics"]["f1_micro"]["value"]
    if not floor < f1 <= 1:
        yield (
            f"f1_micro is {f1:.4f}, expected more than {floor:.4f}: always guessing the most "
            f"frequent classes reaches {floor - F1_MARGIN:.4f}"
        )


def f1_floor(test: dict) -> float:
    """The micro F1 that a model must beat to have learned anything, from the test split's `patches`
    and `support`."""
    f1, _ = constant.best(test["support"], test["patches"])
    return f1 + F1_MARGIN


def summary(record: dict, patches: int) -> dict:
    """What decides whether two runs are alike, and where the time went; small enough to keep with
    every result.

    Returns:
        record (its id), machine (processor and devices), commit, driver, packages, kernel, image,
        dataset, patches, nodes; efficiency: see `why_not_faster`; the intervals of
        the metrics (name -> [low, high]); and rows of rank, hostname, median step time (s) and
        phases (name -> s), where the workload records them.
    """
    provenance = record["provenance"]
    rows = [
        {
            "rank": row["rank"],
            "hostname": row["hostname"],
            "step_time": (row.get("step_time") or {}).get("p50"),
            "phases": row.get("phases") or row.get("stages") or {},
        }
        for row in record["ranks"]
    ]
    devices = sorted({str(row["device"]) for row in record["ranks"] if row.get("device")})
    machine = [name for name in (provenance.get("processor"), *devices) if name]
    return {
        "record": record.get("id"),
        "machine": ", ".join(machine) or None,
        "commit": provenance.get("git_commit"),
        "driver": provenance.get("driver"),
        "packages": {**(provenance.get("packages") or {}), **(provenance.get("libraries") or {})},
        "kernel": provenance.get("kernel"),
        "image": provenance["image_digest"],
        "dataset": provenance["dataset_digest"],
        "patches": patches,
        "nodes": len({row["hostname"] for row in record["ranks"]}),
        "efficiency": why_not_faster(record["workload"], record.get("efficiency")),
        "intervals": {
            name: entry["interval"]
            for name, entry in record["metrics"].items()
            if entry.get("interval")
        },
        "ranks": rows,
    }


def why_not_faster(workload: str, tree) -> str | None:
    """The sentence of a training's efficiency tree, or why there is none; None for other work.

    Args:
        tree: the record's `efficiency`.
    """
    if workload != "train":
        return None
    if not tree:
        return (
            "no efficiency tree: fewer than two steps were trained, or the record is of a version "
            "without one"
        )
    told = tree.get("sentence")
    return told if isinstance(told, str) and told else "the efficiency tree has no sentence"
