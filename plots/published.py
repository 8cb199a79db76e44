"""The paper's printed numbers: Sedona et al. 2019 (published.yaml, published_table2.csv,
published_table3.csv)."""

import csv
from functools import cache
from pathlib import Path

import yaml

HERE = Path(__file__).parent


@cache
def _content() -> dict:
    return yaml.safe_load((HERE / "published.yaml").read_text(encoding="utf-8"))


def note(quantity: str = "") -> str:
    """What stands under every picture with hollow markers; more for a quantity of which the paper
    draws something without its value."""
    unprinted = _content()["unprinted"].get(quantity, "")
    return (
        f"Hollow: published, not measured here: {_content()['source'].strip()} "
        f"({_content()['data']}); other data, other times. {unprinted}"
    ).rstrip()


def train_patches() -> tuple:
    """The fewest and the most patches that an epoch of the paper can have had."""
    return tuple(_content()["train_patches"])


def points(quantity: str) -> list:
    """The paper's values of a metric: rows of series, origin, nodes, devices, mean, bound ("exact",
    "about", "below") and where."""
    systems = _content()["systems"]
    return [
        {
            "series": f"{system}, published",
            "origin": "published",
            "nodes": nodes,
            "devices": nodes * systems[system]["devices_per_node"],
            "mean": value,
            "bound": bound,
            "where": where,
        }
        for name, system, nodes, value, bound, where in _content()["points"]
        if name == quantity
    ]


def _table(name: str) -> list:
    with open(HERE / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table2() -> list:
    """Rows of model ("rgb", "multispectral"), precision, recall, f1 (micro averages), on one JUWELS
    node."""
    return [
        {k: v if k == "model" else float(v) for k, v in row.items()}
        for row in _table("published_table2.csv")
    ]


def table3() -> list:
    """Rows of class, support (int), f1_multispectral, f1_rgb, on one JUWELS node."""
    kinds = {"class": str, "support": int}
    return [
        {k: kinds.get(k, float)(v) for k, v in row.items()}
        for row in _table("published_table3.csv")
    ]
