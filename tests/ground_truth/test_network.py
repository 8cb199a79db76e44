"""What the all-reduce says of a network whose speed is known.

.venv/bin/python -m pytest -m netns tests/ground_truth
"""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bigearth import record

spec = importlib.util.spec_from_file_location("network", Path(__file__).with_name("network.py"))
network = importlib.util.module_from_spec(spec)
spec.loader.exec_module(network)

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("tc"), reason="needs root and tc"),
]


def namespaces():
    done = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if line.startswith(network.NAME)]


@pytest.mark.parametrize("megabits", [100, 500])
def test_the_speed_of_a_link_is_recovered(tmp_path, megabits):
    with network.hosts(2, f"{megabits}mbit", tmp_path) as run:
        options = ["--largest-mb", 16, "--repeats", 6, "--out", tmp_path]
        done = run("-m", "benchmarks.allreduce", *options)
    assert done.returncode == 0, done.stderr[-2000:]
    content = record.read(tmp_path / "result.json")
    assert content.value("allreduce_bandwidth") == pytest.approx(megabits / 8000, rel=0.1)
    assert len(content.provenance["nodelist"]) == 2
    assert namespaces() == []


def test_the_network_goes_after_a_failure(tmp_path):
    with pytest.raises(ZeroDivisionError), network.hosts(2, "100mbit", tmp_path):
        assert len(namespaces()) == 3
        1 / 0  # noqa: B018
    assert namespaces() == []
