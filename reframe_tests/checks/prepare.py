"""From an archive of patches to one HDF5 file."""

import reframe as rfm
from reframe.core.builtins import fixture, run_before

from reframe_tests.checks.data import synthetic_archive
from reframe_tests.checks.preflight import AfterPreflight


@rfm.simple_test
class prepare(AfterPreflight):
    """Archive to HDF5: how fast patches are read, upsampled and written by all ranks at once."""

    descr = "archive to HDF5"
    check = "prepare"
    program = "benchmarks.prepare"
    nodes = 1
    metrics = ("patch_throughput", "write_bandwidth", "imbalance")
    archive = fixture(synthetic_archive, scope="session")
    tags = {"smoke", "nightly", "acceptance"}

    @run_before("run")
    def set_options(self):
        self.options = [
            "--archive",
            f"{self.archive.stagedir}/archive",
            "--out",
            "patches.h5",
            "--record",
            "result.json",
        ]

    def patches(self) -> int:
        return self.archive.patches

    def faults(self):
        yield from super().faults()
        written = sum(row["patches"] for row in self.record["ranks"])
        if written != self.patches():
            yield f"the ranks wrote {written} patches, the archive has {self.patches()}"
