"""What the documentation names exists: programs and their options, make targets, files, links."""

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "plots/gallery/README.md"])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def code(text: str):
    """Every line of a code block, continued lines joined, and what stands in backticks."""
    parts = re.split(r"^```.*$", text.replace("\\\n", " "), flags=re.MULTILINE)
    for block in parts[1::2]:
        yield from block.splitlines()
    for prose in parts[0::2]:
        yield from re.findall(r"`([^`]+)`", prose)


@functools.lru_cache(None)
def help_of(*command) -> str:
    done = subprocess.run(
        [*command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{' '.join(command)} --help: {done.stderr}"
    return done.stdout


def programs(line: str):
    """(command whose --help lists the options, the words after it) of each of our programs."""
    try:
        words = shlex.split(line.replace("…", ""), comments=True)
    except ValueError:
        return
    for i, word in enumerate(words):
        rest = words[i + 1 :]
        if word == "-m" and rest and (ROOT / rest[0].replace(".", "/")).parent.is_dir():
            if rest[0].split(".")[0] in ("bigearth", "benchmarks", "plots", "reframe_tests", "ci"):
                inner = rest[1:2] if rest[0] == "plots" and not rest[1].startswith("-") else []
                yield (sys.executable, "-m", rest[0], *inner), rest[1:]
        elif word == "bigearth-bench" and rest and rest[0].isalpha():
            inner = rest[:2] if rest[0] == "site" else rest[:1]
            yield (sys.executable, "-m", "reframe_tests.commands", *inner), rest
        elif re.fullmatch(r"(ci|containers)/[\w/-]+\.sh", word):
            yield (str(ROOT / word),), rest


REFRAMES = {"--system", "--mode", "--max-retries", "--distribute", "--performance-compare"}
REFRAMES |= {"--list-stored-sessions", "--reruns", "--duration", "--restore-session"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_programs_and_options_exist(name):
    for line in code((ROOT / name).read_text()):
        for command, words in programs(line):
            known = set(re.findall(r"--[a-z][\w-]*", help_of(*command)))
            ends = [i for i, word in enumerate(words) if word in ("|", ">", "&&", ";", "run")]
            given = words[: ends[0]] if ends and "cluster" in command[0] else words
            options = {word.split("=")[0] for word in given if re.match("--[a-z]", word)}
            assert options - known - REFRAMES <= {"--help"}, f"{line}: {command}"


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_exist(name):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code((ROOT / name).read_text()):
        for target in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)", line):
            assert target in targets, line


@pytest.mark.parametrize("name", NAMES)
def test_links_and_files_exist(name):
    page = ROOT / name
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert link.startswith("http") or (page.parent / link).exists(), link
    for path in re.findall(
        r"`((?:bigearth|benchmarks|reframe_tests|plots|ci|tests|docs)/[\w./-]+)`", text
    ):
        assert "mysite" in path or (ROOT / path).exists(), path


def test_no_page_is_left_out():
    pages = [page.name for page in ROOT.glob("docs/*.md")]
    assert all(name in (ROOT / "mkdocs.yml").read_text() for name in pages)
    linked = (ROOT / "README.md").read_text()
    assert all(f"docs/{name}" in linked for name in pages if name != "index.md")
