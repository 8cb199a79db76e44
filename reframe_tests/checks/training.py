"""ResNet-50 trained data-parallel: time and accuracy."""

import reframe as rfm
from reframe.core.builtins import fixture, run_before, variable

from .. import evidence
from .base import ROOT, Workload
from .data import prepared_patches


class Training(Workload):
    """benchmarks.train on the session's HDF5 file."""

    program = "benchmarks.train"
    data = fixture(prepared_patches, scope="session")
    #: File of benchmarks/configs/ that sets the model and the schedule.
    config = variable(str, value="local", loggable=True)
    keep_files = ["result.json", "metrics.csv", "samples.npz"]

    @run_before("run")
    def set_options(self):
        self.options = ["--config", str(ROOT / "benchmarks" / "configs" / f"{self.config}.py"), "--data", self.data.path, "--output", "."]

    def patches(self) -> int:
        return self.data.contents()["patches"]

    def faults(self):
        yield from super().faults()
        yield from evidence.training_faults(self.record, self.data.contents())


@rfm.simple_test
class training(Training):
    """A small, real training run on one node: the whole chain from archive to scores."""

    descr = "ResNet-50, small, one node"
    check = "training"
    nodes = 1
    tags = {"smoke", "nightly", "acceptance"}
