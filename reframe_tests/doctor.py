"""Prints what this machine and this Python environment have: `bigearth-bench doctor`.

The same facts go into the provenance of every record (bigearth/machine.py). In an image:
`apptainer exec --nv IMAGE python -m reframe_tests.doctor`; on a compute node: with `srun` before
it.
"""

import importlib.util
import os
import sys
from dataclasses import dataclass

from bigearth import cli, machine, nvml, provenance
from bigearth.errors import InputError, one_line


@dataclass(frozen=True)
class DoctorConfig:
    data: str = cli.option(os.curdir, "file or folder of the data, whose file system counts")


def devices() -> list:
    """(name, Fact) of each NVIDIA device."""
    library, why = nvml.load()
    if library is None:
        return [("devices", machine.Fact(None, why))]
    found = []
    for index in range(library.nvmlDeviceGetCount()):
        handle = library.nvmlDeviceGetHandleByIndex(index)
        name = library.nvmlDeviceGetName(handle)
        name = name.decode() if isinstance(name, bytes) else name
        state = {k: v for k, v in nvml.health(library, handle).items() if v not in (None, "")}
        found.append((f"device {index}", machine.Fact({"name": name, **state})))
    return found or [("devices", machine.Fact(None, "NVML finds none"))]


def packages() -> list:
    """(name, Fact) of Python and of each package that the suite knows."""
    versions = provenance.packages()
    found = [("python", machine.Fact(f"{sys.version.split()[0]} ({sys.executable})"))]
    for name in provenance.PACKAGES:
        there = name in versions or importlib.util.find_spec(name.replace("-", "_"))
        value = versions.get(name, "installed, version not stated") if there else None
        found.append((name, machine.Fact(value, "" if there else "not installed")))
    return found


def show(value) -> str:
    """A fact's value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {show(part)}" for key, part in value.items()) or "none set"
    return one_line(f"{value:g}" if isinstance(value, float) else value, most=300)


def lines(facts: list) -> list:
    """The text of (name, Fact) pairs; variables of the environment get a line each."""
    text = []
    for name, fact in facts:
        if fact.value is None:
            text.append(f"  {name:14} not known: {one_line(fact.why)}")
        elif name == "environment" and fact.value:
            text += [f"  {'environment':14} {key}={value}" for key, value in fact.value.items()]
        else:
            text.append(f"  {name:14} {show(fact.value)}")
    return text


def main(config: DoctorConfig) -> None:
    if not os.path.exists(config.data):
        raise InputError(f"{config.data}: no such file or folder; correct --data")
    facts = machine.facts(config.data)
    if os.path.isfile(config.data):
        facts["data_cached"] = machine.cached_share(config.data)
    for title, part in (
        ("this machine", [*facts.items(), *devices()]),
        ("this environment", packages()),
    ):
        print("\n".join([title, *lines(part)]))


PROGRAM = cli.Program(
    module="reframe_tests.doctor",
    command="bigearth-bench doctor",
    description="Print what this machine and this environment have, and what could not be read.",
    example="--data patches.h5",
)

if __name__ == "__main__":
    cli.main(DoctorConfig, main, PROGRAM)
