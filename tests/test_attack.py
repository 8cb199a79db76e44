"""A short campaign of tests/attack; a longer one: `python -m tests.attack --cases 2000`."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attack import __main__ as campaign
from tests.attack import mutations

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("seed", [1])
def test_no_traceback_no_hang_nothing_wrong(seed):
    command = [sys.executable, "-m", "tests.attack", "--cases", "300", "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "| all | 300 |" in done.stdout


def test_the_campaign_sees_what_goes_wrong():
    def fail():
        raise KeyError("x")

    assert campaign.judge(fail)[0] == "traceback"
    assert campaign.judge(lambda: 3) == ("read", 3)
    found = [("JP2", "bit", "wrong", ""), ("JP2", "cut", "clean", ""), ("XML", "?", "hang", "")]
    assert "| JP2 | 2 | 1 | 0 | 1 | 0 | 0 | 0 |" in campaign.table(found)
    assert "| all | 3 | 1 | 0 | 1 | 0 | 1 | 0 |" in campaign.table(found)


def test_mutations_repeat_and_stay_before_their_limit():
    data = bytes(range(256)) * 4
    made = [mutations.mutate(data, random.Random(seed), 100) for seed in range(200)]
    assert made == [mutations.mutate(data, random.Random(seed), 100) for seed in range(200)]
    assert len({kind for kind, _ in made}) == 8
    for kind, content in made:
        assert kind == "short" or content.endswith(data[100:])
