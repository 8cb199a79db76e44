"""Removes what old runs left on the disk: `bigearth-bench clean`.

Stage folders (data, checkpoints, job scripts) go, and reports and kept outputs beyond the newest
ones; the results database, the performance logs and what they say stay.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from bigearth import cli

from . import launch
from .settings.common import RESULTS


@dataclass(frozen=True)
class CleanConfig:
    results: Optional[str] = cli.option(None, f"folder of the results ({RESULTS})")
    keep: int = cli.option(20, "reports of this many newest sessions stay", least=0)
    dry_run: bool = cli.option(False, "say what would go, remove nothing")


PROGRAM = cli.Program(
    module="reframe_tests.clean",
    command="bigearth-bench clean",
    description="Remove stage folders and old reports; the results database stays.",
    example="--keep 5",
    exit_codes="exit codes: 0 done; 2 another session uses the folder, or a mistake",
)


def size(path: Path) -> int:
    """Bytes of a file or of everything under a folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(size(Path(entry.path)) for entry in os.scandir(path))


def old(results: Path, keep: int) -> list:
    """What can go: every stage folder, and all reports but the newest `keep`."""
    stages = sorted((results / "stage").glob("*")) if (results / "stage").is_dir() else []
    reports = sorted(
        (results / "reports").glob("run-*.json"),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    return [*stages, *reports[keep:]]


def main(options: CleanConfig) -> None:
    results = Path(options.results or RESULTS).absolute()
    if not results.is_dir():
        print(f"{results}: nothing is there")
        return
    with launch.lock(results):
        found = old(results, options.keep)
        freed = sum(size(path) for path in found)
        for path in found:
            print(f"{'would remove' if options.dry_run else 'removed'} {path}")
            if options.dry_run:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    print(f"{freed / 1e6:.0f} MB in {len(found)} place(s)")


if __name__ == "__main__":
    cli.main(CleanConfig, main, PROGRAM)
