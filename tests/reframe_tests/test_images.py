"""What keeps the programs from running is said before anything is submitted."""

import importlib.util
import sys

import pytest

from bigearth.errors import InputError
from reframe_tests import images

SLURM = {
    "name": "gpus",
    "scheduler": "slurm",
    "environs": ["native", "container"],
    "container_platforms": [{"type": "Apptainer"}],
}


@pytest.fixture
def light(monkeypatch):
    """An environment without the workloads' libraries."""
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in ("tensorflow", "osgeo") else there(name),
    )


def test_a_light_environment_names_the_option_for_images(light):
    with pytest.raises(InputError) as caught:
        images.check_native([{"name": "native", "extras": {"python": sys.executable}}])
    text = str(caught.value)
    assert "no tensorflow, no osgeo" in text and "--image" in text and "\n" not in text


@pytest.mark.parametrize(
    "environment",
    [
        {"name": "modules", "modules": ["TensorFlow"], "extras": {"python": sys.executable}},
        {"name": "other", "extras": {"python": "/opt/python"}},
        {"name": "container", "extras": {"image": "cpu"}},
        {"name": "builtin"},
    ],
)
def test_what_only_the_jobs_can_know_is_left_to_them(light, environment):
    images.check_native([environment])


def test_an_environment_with_everything_passes(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    images.check_native([{"name": "native", "extras": {"python": sys.executable}}])


def test_a_system_that_runs_no_images_is_named():
    system = {"name": "mine", "partitions": [{**SLURM, "container_platforms": []}]}
    with pytest.raises(InputError, match="no partition of mine states `container_platforms`"):
        images.check("cpu", system)


@pytest.fixture
def script(tmp_path, monkeypatch):
    """script(text): stands for check.sh, on a login node that has Singularity only."""

    def write(text):
        for path, code in ((tmp_path / "check.sh", text), (tmp_path / "singularity", "")):
            path.write_text(f"#!/bin/sh\n{code}\n")
            path.chmod(0o755)
        monkeypatch.setattr(images, "CHECK", tmp_path / "check.sh")
        monkeypatch.setenv("PATH", str(tmp_path))

    return write


def test_an_image_that_does_not_fit_is_one_sentence(script):
    script("echo warning: odd >&2; echo error: x.sif: not an image >&2; exit 2")
    with pytest.raises(InputError, match="^x.sif: not an image$"):
        images.check("x.sif", {"name": "mine", "partitions": [SLURM]})


def test_an_image_that_fits_passes_and_without_an_engine_the_jobs_decide(script, tmp_path):
    script("exit 0")
    images.check("x.sif", {"name": "mine", "partitions": [SLURM]})
    script("exit 2")
    (tmp_path / "singularity").unlink()
    images.check("x.sif", {"name": "mine", "partitions": [SLURM]})
