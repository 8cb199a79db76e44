"""Earlier results, read from ReFrame's own results database."""

import json
import sqlite3
from pathlib import Path

from bigearth.errors import InputError

DATA_VERSION = "4"  # major version of ReFrame's report format


def cases(database) -> list:
    """Every test case of every session that got as far as its numbers, oldest first, as ReFrame's
    report has them.

    Raises:
        InputError: there is no database, it holds nothing, or it is of another version of ReFrame.
    """
    path = Path(database)
    if not path.is_file():
        raise InputError(
            f"{path}: no results database; expected the one that ReFrame keeps; run the suite first"
        )
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            blobs = [
                row[0]
                for row in connection.execute(
                    "select json_blob from sessions order by session_start_unix"
                )
            ]
    except sqlite3.Error as error:
        raise InputError(
            f"{path}: not a results database of ReFrame 4.10 ({error}); expected the "
            "one that the suite fills"
        ) from error
    found = []
    for report in map(json.loads, blobs):
        version = report["session_info"]["data_version"]
        if version.split(".")[0] != DATA_VERSION:
            raise InputError(
                f"{path}: results in format {version}, expected {DATA_VERSION}.x; "
                "read them with the ReFrame that wrote them"
            )
        found += [case for run in report["runs"] for case in run["testcases"] if usable(case)]
    if not found:
        raise InputError(
            f"{path}: no finished measurement in the results database; run the suite first"
        )
    return found


def usable(case: dict) -> bool:
    """Whether the case's evidence was sound; a case that only missed its references counts."""
    return bool(case.get("evidence")) and (
        case["result"] in ("pass", "xfail", "xpass") or case["fail_phase"] == "performance"
    )


def key(case: dict) -> tuple:
    """What makes two cases runs of the same thing: site, partition, check, point, image, data."""
    run = case["evidence"]
    return (
        case["system"],
        case["partition"],
        case["check"],
        case["point"],
        run["image"],
        run["dataset"],
        run["patches"],
    )


def metrics(case: dict) -> dict:
    """metric -> value of one case."""
    return {
        name.split(":")[-1]: row[0]
        for name, row in case["perfvalues"].items()
        if row[0] is not None
    }
