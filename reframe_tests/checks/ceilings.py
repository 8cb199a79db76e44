"""What network, devices and storage can do at all: the numbers that a training's efficiency is
compared with. They run when asked for: `--tag ceilings`."""

import reframe as rfm
from reframe.core.builtins import parameter, run_before

from reframe_tests.checks.data import NeedsData
from reframe_tests.checks.preflight import NODES, AfterPreflight

LARGEST_MB = 256  # of an all-reduce; 16 where many nodes share one machine's cores
# what a processor has done in the time in which a GPU does the benchmark's usual work
SMALL = ["--matrix", "1024", "--copy-mb", "256", "--batch-size", "8", "--precisions", "float32"]


class Ceiling(NeedsData, AfterPreflight):
    """A program that measures one part of the machine by itself."""

    nodes = parameter(NODES, loggable=True)
    tags = {"ceilings"}


@rfm.simple_test
class allreduce(Ceiling):
    """Bus bandwidth and latency between all ranks, and the time for the network's gradients."""

    descr = "all-reduce by itself"
    check = "allreduce"
    program = "benchmarks.allreduce"
    metrics = ("allreduce_bandwidth", "allreduce_latency", "gradient_allreduce_time")

    @run_before("run")
    def set_options(self):
        largest = 16 if "rehearsal" in self.partition.features else LARGEST_MB
        self.options = ["--out", ".", "--largest-mb", str(largest)]
        self.options += ["--library", "horovod" if self.partition.devices else "mpi"]


@rfm.simple_test
class device(Ceiling):
    """Matrix products, convolutions and copies of every device at once: the slowest counts."""

    descr = "every device by itself"
    check = "device"
    program = "benchmarks.device"
    metrics = ("matrix_float32", "memory_bandwidth")

    @run_before("run")
    def set_options(self):
        self.options = ["--out", "."]
        if not self.partition.devices:
            self.options += SMALL


@rfm.simple_test
class storage(Ceiling):
    """Reads of the HDF5 file by all ranks, in and out of order; opens, writes and fsync beside
    it."""

    descr = "storage by itself"
    check = "storage"
    program = "benchmarks.storage"
    metrics = ("storage_random_warm", "storage_opens")

    @run_before("run")
    def set_options(self):
        self.options = ["--out", ".", "--data", self.file.path]
        if "rehearsal" in self.partition.features:
            self.options += ["--samples", "50", "--write-mb", "4"]
