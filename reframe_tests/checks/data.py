"""The data that the checks share, made once a session: a synthetic archive and the HDF5 file cut from it."""

import json
from pathlib import Path

import reframe as rfm
from reframe.core.builtins import fixture, run_before, sanity_function, variable

from .base import Program, Workload

SEED = 1


class synthetic_archive(Program):
    """A synthetic archive in BigEarthNet's format on disk: the same seed gives the same bytes everywhere."""

    descr = "synthetic BigEarthNet archive"
    program = "bigearth.prepare.synthesis"
    nodes = 1
    ranks_per_node = 1
    local = True
    #: How many patches; the default is the smallest number at which the scores are steady enough to be judged.
    patches = variable(int, value=1000, loggable=True)

    @run_before("run")
    def set_options(self):
        self.options = ["--patches", str(self.patches), "--seed", str(SEED), "--out", "archive"]

    @sanity_function
    def is_complete(self):
        self.assert_ended_well()
        return True


class prepared_patches(Program):
    """The HDF5 file of the archive's patches, and `patches.json`, which says what is in it."""

    descr = "HDF5 file of patches"
    program = "benchmarks.prepare"
    nodes = 1
    archive = fixture(synthetic_archive, scope="session")

    @run_before("run")
    def set_options(self):
        self.options = ["--archive", f"{self.archive.stagedir}/archive", "--out", "patches.h5"]
        self.postrun_cmds = [f"{self.python} -m benchmarks.describe --data patches.h5 --out patches.json"]

    @sanity_function
    def is_complete(self):
        self.assert_ended_well()
        return True

    @property
    def path(self) -> str:
        return str(Path(self.stagedir, "patches.h5"))

    def contents(self) -> dict:
        """What benchmarks.describe counted in the file."""
        return json.loads(Path(self.stagedir, "patches.json").read_text())


@rfm.simple_test
class prepare(Workload):
    """Archive to HDF5: how fast patches are read, upsampled and written by all ranks at once."""

    descr = "archive to HDF5"
    check = "prepare"
    program = "benchmarks.prepare"
    nodes = 1
    archive = fixture(synthetic_archive, scope="session")
    tags = {"smoke", "nightly", "acceptance"}

    @run_before("run")
    def set_options(self):
        self.options = ["--archive", f"{self.archive.stagedir}/archive", "--out", "patches.h5", "--record", "result.json"]

    def patches(self) -> int:
        return self.archive.patches

    def faults(self):
        yield from super().faults()
        written = sum(row["patches"] for row in self.record["ranks"])
        if written != self.patches():
            yield f"the ranks wrote {written} patches, the archive has {self.patches()}"
