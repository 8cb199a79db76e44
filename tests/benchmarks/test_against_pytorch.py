"""against_pytorch: the worker process and what is computed from both sides' seconds."""

import json
import os
import sys

import pytest

from benchmarks.studies import against_pytorch
from bigearth import provenance
from bigearth.errors import InputError

ANSWERS = """\
import sys
print("torch 0.0", flush=True)
for line in sys.stdin:
    print(0.25 * int(line), flush=True)
"""


def config(tmp_path, script: str) -> against_pytorch.Config:
    """Options with a Python that runs another script in the worker's place."""
    (tmp_path / "script.py").write_text(script)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path}/script.py "$@"\n')
    os.chmod(python, 0o755)
    return against_pytorch.Config(data="x.h5", out=str(tmp_path), pytorch=str(python))


def test_steps_of_the_worker_are_timed_by_itself(tmp_path):
    other = against_pytorch.PyTorch(config(tmp_path, ANSWERS))
    assert other.version == "torch 0.0"
    assert other.steps(2) == 0.5
    assert other.steps(4) == 1.0
    other.close()
    assert other.process.returncode == 0


def test_an_environment_without_torch_is_one_sentence(tmp_path, capfd):
    with pytest.raises(InputError, match="exit code 1.*with torch and torchvision"):
        against_pytorch.PyTorch(config(tmp_path, "import not_there_at_all"))
    assert "not_there_at_all" in capfd.readouterr().err
    other = against_pytorch.PyTorch(config(tmp_path, "print('torch 0.0')"))
    other.process.wait()
    with pytest.raises(InputError, match="exit code 0.*with torch and torchvision"):
        other.steps(2)
    other.close()
    with pytest.raises(InputError, match="cannot be started"):
        against_pytorch.PyTorch(against_pytorch.Config(data="x", out="y", pytorch="/not/there"))


def test_ratio_is_of_turns(tmp_path, capsys):
    options = config(tmp_path, ANSWERS)
    turns = [{"ours": 1.0, "pytorch": p} for p in (1.0, 2.0, 3.0)]
    file = type("File", (), {"digest": "d"})
    against_pytorch.write(
        options, provenance.now(), store=file, turns=turns, about=("CPU", "torch 0.0")
    )
    result = json.loads((tmp_path / "result.json").read_text())
    assert [row["ratio"] for row in result["tables"]["ratios"]] == [1.0, 2.0, 3.0]
    assert result["metrics"]["throughput"]["value"] == 64.0
    assert "ours / torch 0.0: 2.000" in capsys.readouterr().err
