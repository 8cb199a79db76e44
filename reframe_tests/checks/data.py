"""The data that the checks share, made once per session: an HDF5 file of patches to train on, and
an archive to prepare."""

import functools
import json
from pathlib import Path

import reframe as rfm
from reframe.core.builtins import fixture, run_before, sanity_function, variable

from reframe_tests import budget
from reframe_tests.checks.base import Program

SEED = 1


class Made(Program):
    """Data, made by one job."""

    nodes = 1

    @sanity_function
    def is_complete(self):
        self.assert_ended_well()
        return True


class synthetic_archive(Made):
    """A synthetic archive in BigEarthNet's format on disk: the same seed gives the same bytes
    everywhere."""

    descr = "synthetic BigEarthNet archive"
    program = "bigearth.synthetic.synthesis"
    ranks_per_node = 1
    #: How many patches; 0: the partition's choice, else the usual number.
    patches = variable(int, value=0, loggable=True)

    @run_before("run")
    def set_options(self):
        self.patches = self.patches or self.partition.extras.get("patches", budget.PATCHES)
        self.options = ["--patches", str(self.patches), "--seed", str(SEED), "--out", "archive"]


class hdf5_file(Made):
    """The HDF5 file of patches: the one given, or synthetic patches that all ranks of one node
    write."""

    descr = "HDF5 file of patches"
    program = "benchmarks.synthesise"
    #: An HDF5 file to use instead, e.g. of the real patches.
    data = variable(str, value="", loggable=True)
    #: How many synthetic patches; 0: the partition's choice, else as many as its largest job needs.
    patches = variable(int, value=0, loggable=True)

    @run_before("run")
    def set_options(self):
        if self.data:
            self.program = "benchmarks.describe"
            self.options = ["--data", self.data, "--out", "given.json"]
            return
        about = self.partition
        self.patches = (
            self.patches
            or about.extras.get("patches")
            or budget.patches_for(
                about.max_nodes * about.ranks_per_node, about.extras.get("batch_size", 0)
            )
        )
        self.options = ["--patches", str(self.patches), "--seed", str(SEED), "--out", "patches.h5"]

    @property
    def path(self) -> str:
        return self.data or str(Path(self.stagedir, "patches.h5"))


class file_contents(Made):
    """What the HDF5 file holds, counted independently of the programs that write it and train on
    it."""

    descr = "count of what the HDF5 file holds"
    program = "benchmarks.describe"
    ranks_per_node = 1
    file = fixture(hdf5_file, scope="session")

    @run_before("run")
    def set_options(self):
        self.options = ["--data", self.file.path, "--out", "contents.json"]


class NeedsData(rfm.RegressionTestPlugin):
    """Of a workload on the session's HDF5 file."""

    file = fixture(hdf5_file, scope="session")
    counted = fixture(file_contents, scope="session")

    @functools.cached_property
    def contents(self) -> dict:
        """What benchmarks.describe counted in the file."""
        return json.loads(Path(self.counted.stagedir, "contents.json").read_text())

    def patches(self) -> int:
        return self.contents["patches"]

    def work(self) -> dict:
        return {"train_patches": self.contents["splits"]["train"]["patches"]}
