"""The table of twelve rules in docs/methodology.md names files and tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def rules() -> list:
    """The rows of the table: rule, kept, file, test."""
    text = (ROOT / "docs/methodology.md").read_text()
    part = text.split("## Twelve rules")[1].split("\n## ")[0]
    rows = [line for line in part.splitlines() if re.match(r"\| \d+\. ", line)]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_all_twelve_are_there_and_say_whether_they_are_kept():
    assert [int(row[0].split(".")[0]) for row in rules()] == list(range(1, 13))
    assert all(re.match("yes: |in part: |no: ", row[1]) for row in rules())


def test_files_and_tests_exist():
    for rule, _, file, test in rules():
        assert (ROOT / file.strip("`")).is_file(), rule
        path, name = test.strip("`").split("::")
        assert f"def {name}(" in (ROOT / path).read_text(), rule
