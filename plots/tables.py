"""The paper's Tables 2 and 3 from results, as Markdown, CSV and LaTeX, with the published numbers
in rows and columns of their own."""

import math
from pathlib import Path
from typing import NamedTuple

from bigearth.files import new_file
from plots import published
from plots.figure import write_table
from plots.series import grouped, series, trainings
from reframe_tests.results.export import pipes
from reframe_tests.results.values import statistic

SCORES = (("precision_micro", "P"), ("recall_micro", "R"), ("f1_micro", "F1"))
NONE = "–"


class Table(NamedTuple):
    """A finished table: file name, title, column names, rows of str or float, and notes."""

    name: str
    title: str
    columns: tuple
    rows: list
    notes: list


def table2(runs: list) -> Table:
    """Precision, recall and F1 (micro averages) of every series: mean, deviation and number of
    runs."""
    runs = trainings(runs)
    rows = []
    for label, group in series(runs).items():
        cells = []
        for name, _ in SCORES:
            cells += statistic([run.metric(name) for run in group])[:2]
        scored = sum(math.isfinite(run.metric("f1_micro")) for run in group)
        rows.append([label, str(group[0].config.get("bands", NONE)), "measured", *cells, scored])
    for row in published.table2():
        rows.append(
            [
                "JUWELS, 1 node",
                row["model"],
                "published",
                row["precision"],
                math.nan,
                row["recall"],
                math.nan,
                row["f1"],
                math.nan,
                1,
            ]
        )
    columns = ["series", "bands", "origin"]
    for _, short in SCORES:
        columns += [short, f"{short} deviation"]
    notes = [
        "Micro averages on the test split; published: Table 2 of Sedona et al. 2019 "
        "(consistent with micro averages)."
    ]
    return Table("table2_scores", "Table 2  Scores", (*columns, "runs"), rows=rows, notes=notes)


def table3(runs: list) -> Table:
    """F1 of every class: a column of means for every series, the test support of the first, and the
    paper's columns."""
    columns, by_class, supports = [], {}, {}
    for label, group in series([run for run in trainings(runs) if run.table("per_class")]).items():
        columns.append(f"F1 {label}")
        for name, values in grouped(group, "per_class", "label", wanted=("f1", "support")).items():
            # without a test patch of the class there is nothing to score
            f1 = [v for v, n in zip(values["f1"], values["support"]) if n != 0]
            by_class.setdefault(str(name), {})[label] = statistic(f1)[0]
            supports.setdefault(str(name), _count(values["support"][0]))
    labels = [column[3:] for column in columns]
    printed = {row["class"]: row for row in published.table3()}
    rows = []
    for name in dict.fromkeys([*printed, *by_class]):
        means = [by_class.get(name, {}).get(label, math.nan) for label in labels]
        paper = printed.get(name, {})
        rows.append(
            [name, supports.get(name, math.nan), *means]
            + [paper.get(key, math.nan) for key in ("support", "f1_multispectral", "f1_rgb")]
        )
    header = (
        "class",
        "support",
        *columns,
        "support (published)",
        "F1 multispectral (published)",
        "F1 RGB (published)",
    )
    notes = ["Published: Table 3 of Sedona et al. 2019, one JUWELS node."] + (
        [] if columns else ["No training with scores a class was found."]
    )
    return Table("table3_classes", "Table 3  Scores per class", header, rows=rows, notes=notes)


def text(value) -> str:
    """A cell: words as they are, counts (int) whole, scores (float) to three digits, what is
    missing as a dash."""
    if isinstance(value, str):
        return value
    if value != value:
        return NONE
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _count(value: float):
    return NONE if math.isnan(value) else round(value)


def numeric(table: Table) -> list:
    """For each column, whether all of its cells are numbers or missing."""
    return [
        all(cell == NONE or not isinstance(cell, str) for cell in column)
        for column in zip(*table.rows)
    ]


def markdown(table: Table) -> str:
    """The table as Markdown (GitHub's), numbers aligned right."""
    right = numeric(table)
    lines = [
        f"**{table.title}**",
        "",
        pipes(table.columns),
        pipes("--:" if r else ":--" for r in right),
    ]
    lines += [pipes(map(text, row)) for row in table.rows]
    return "\n".join([*lines, "", *(f"{note}" for note in table.notes), ""])


_TEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    NONE: "--",
}


def _tex(value: str) -> str:
    return "".join(_TEX.get(c, c) for c in value)


def latex(table: Table) -> str:
    """The table as a LaTeX `table` with booktabs rules."""
    shape = "".join("r" if right else "l" for right in numeric(table))
    body = [" & ".join(_tex(text(cell)) for cell in row) + r" \\" for row in table.rows]
    head = " & ".join(map(_tex, table.columns)) + r" \\"
    caption = _tex(f"{table.title.split('  ', 1)[-1]}. {' '.join(table.notes)}")
    begin = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{{shape}}}",
        r"\toprule",
        head,
        r"\midrule",
    ]
    return "\n".join([*begin, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def save(table: Table, out: Path) -> None:
    """Writes a table as .md, .csv and .tex.

    Raises:
        InputError: the folder is not writable or the disk is full.
    """
    rows = [
        {c: "" if v != v or v == NONE else v for c, v in zip(table.columns, row)}
        for row in table.rows
    ]
    formats = {
        "md": lambda path: path.write_text(markdown(table), encoding="utf-8"),
        "tex": lambda path: path.write_text(latex(table), encoding="utf-8"),
        "csv": lambda path: write_table(path, table.columns, rows),
    }
    for ending, write in formats.items():
        with new_file(out / f"{table.name}.{ending}", "write the table") as path:
            write(path)
