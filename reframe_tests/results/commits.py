"""Which of two commits is the older one, where this checkout's history knows both."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOG = ["git", "log", "--all", "--topo-order", "--format=%H %P"]


def _parents(root: Path) -> dict:
    """Commit -> its parents, children first; empty where there is no git or no repository."""
    try:
        done = subprocess.run(LOG, cwd=root, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return {words[0]: words[1:] for words in map(str.split, lines)}


class Order:
    """The order of the commits of one repository.

    Args:
        root: the repository's folder.
    """

    def __init__(self, root: Path = ROOT):
        self._root = root
        self._parents = None
        self._ancestors = {}

    def is_before(self, first: str, second: str) -> bool:
        """Whether `second` was made on top of `first`; False if that is not known."""
        if self._parents is None:
            self._parents = _parents(self._root)
        if first == second or first not in self._parents or second not in self._parents:
            return False
        if second not in self._ancestors:
            self._ancestors[second] = self._find_ancestors(second)
        return first in self._ancestors[second]

    def _find_ancestors(self, commit: str) -> set:
        found, waiting = set(), [commit]
        while waiting:
            for parent in self._parents.get(waiting.pop(), ()):
                if parent not in found:
                    found.add(parent)
                    waiting.append(parent)
        return found

    def older(self, commits: list) -> list:
        """For each run in order of time, whether its commit is older than one that ran before it,
        e.g. in a search for the commit that broke something.

        Args:
            commits: of each run, None where it was not recorded.
        """
        newest, found = None, []
        for commit in commits:
            late = bool(commit and newest) and self.is_before(commit, newest)
            found.append(late)
            newest = newest if late or not commit else commit
        return found
