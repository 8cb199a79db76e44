"""bigearth-bench doctor: everything is printed, what could not be read with its reason."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from bigearth import machine, nvml, provenance
from reframe_tests import doctor

ROOT = Path(__file__).resolve().parents[2]


def run(*options):
    command = [sys.executable, "-m", "reframe_tests.doctor", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_every_fact_and_package_has_its_line(tmp_path):
    data = tmp_path / "data.h5"
    data.write_bytes(bytes(4096))
    done = run("--data", str(data))
    assert done.returncode == 0, done.stderr
    printed = {line.split()[0] for line in done.stdout.splitlines()}
    assert {*machine.facts(), *provenance.PACKAGES, "python", "data_cached"} <= printed


def test_what_is_not_known_says_why():
    text = doctor.lines([("driver", machine.Fact(None, "none is loaded"))])
    assert text == ["  driver         not known: none is loaded"]


def test_missing_data_are_one_sentence():
    done = run("--data", "none.h5")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "none.h5" in done.stderr


def test_devices_are_shown_with_their_state(monkeypatch):
    library = SimpleNamespace(
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: b"V100",
    )
    monkeypatch.setattr(nvml, "load", lambda: (library, None))
    monkeypatch.setattr(nvml, "health", lambda *_: {"clock": 1530, "power": None})
    assert doctor.lines(doctor.devices()) == ["  device 0       name V100, clock 1530"]


def test_needs_no_workload_library():
    code = "import sys, reframe_tests.doctor; "
    code += "assert not {'tensorflow', 'h5py', 'numpy', 'reframe'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
