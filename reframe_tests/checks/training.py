"""ResNet-50 trained data-parallel: how long an epoch takes, how that scales."""

from typing import Optional

import reframe as rfm
import reframe.utility.udeps as udeps
from reframe.core.builtins import parameter, run_after, run_before, variable
from reframe.core.exceptions import ReframeError

from reframe_tests import fit, references
from reframe_tests.budget import BATCH_SIZE, STEPS
from reframe_tests.checks.data import NeedsData
from reframe_tests.checks.preflight import NODES, AfterPreflight
from reframe_tests.results import evidence

DEVICES = (1, 2, 3, 4)  # on one node (Figure 3)
SPEED = ("time_per_epoch", "throughput")
PAPER_STEPS = 40  # per epoch on 24 nodes of 4 devices with 64 patches each, with the paper's data


class Training(NeedsData, AfterPreflight):
    """benchmarks.train on the session's HDF5 file."""

    program = "benchmarks.train"
    #: Recipe of benchmarks/configs/; empty: the partition's choice, else the paper's.
    config = variable(str, value="", loggable=True)
    #: Samples per rank and step; 0: the partition's choice, else the paper's.
    batch_size = variable(int, value=0, loggable=True)
    keep_files = ["result.json", "metrics.csv", "steps.csv", "samples.npz", "tensorboard"]

    @run_before("run")
    def set_options(self):
        config = self.config or self.partition.extras.get("config", "paper")
        self.options = ["--config", config, "--data", self.file.path, "--out", "."]
        if self.batch:
            self.options += ["--batch-size", str(self.batch)]
        self.options += self.recipe()

    @run_before("run")
    def refuse_what_cannot_run(self):
        """Before the job is submitted: data and work that do not fit each other."""
        if self.is_dry_run():
            return
        fault = fit.misfit(
            name=f"{self.check} {self.point}",
            patches={split: row["patches"] for split, row in self.contents["splits"].items()},
            ranks=self.num_tasks,
            batch_size=self.batch,
            steps=self.steps_per_epoch,
        )
        if fault:
            raise ReframeError(fault)

    @property
    def batch(self) -> int:
        """Samples per rank and step; 0 leaves it to the recipe."""
        return self.batch_size or self.partition.extras.get("batch_size", BATCH_SIZE)

    @property
    def steps_per_epoch(self) -> Optional[int]:
        """How many each epoch must have; None for a pass over the whole split."""

    def recipe(self) -> list:
        """Options of this check's own."""
        return []

    def faults(self):
        yield from super().faults()
        yield from evidence.training_faults(self.record, self.contents)


class Learning(Training):
    """A training that must have learned something; a rehearsal, whose model is a toy, need not."""

    def faults(self):
        yield from super().faults()
        if "rehearsal" not in self.partition.features:
            yield from evidence.learning_faults(self.record, self.contents)

    @run_before("performance")
    def hold_f1_against_guessing(self):
        """Where nobody has measured F1, it is judged by what always guessing the frequent classes
        reaches."""
        if self.is_dry_run() or "rehearsal" in self.partition.features:
            return
        if self.cells["f1_micro"]["origin"] == "unknown":
            floor = evidence.f1_floor(self.contents["splits"]["test"])
            limits = {"value": floor, "lower": 0.0, "upper": None, "unit": "1"}
            source = "the best constant guess and a margin"
            cell = {**limits, "origin": "computed", "source": source}
            self.judge_by({**self.cells, "f1_micro": cell})


@rfm.simple_test
class training(Learning):
    """A small, real training run on one node: the whole chain from archive to scores."""

    descr = "ResNet-50, small, one node"
    check = "training"
    nodes = 1
    metrics = ("f1_micro", *SPEED)
    tags = {"smoke", "nightly", "acceptance"}

    @run_after("setup")
    def choose_config(self):
        self.config = self.config or self.partition.extras.get("small_config", "local")

    @property
    def batch(self) -> int:
        return self.batch_size


class Timing(Training):
    """Enough epochs to time: the first, which holds tracing and warm-up, does not count. The pixels
    are those that the file holds, however they were made."""

    epochs = variable(int, value=3, loggable=True)
    #: Time steps until the 95 % interval of their mean is within this share of it, over a part of
    #: an epoch if that is enough, e.g. 0.01; 0: whole epochs.
    interval = variable(float, value=0.0, loggable=True)

    def recipe(self) -> list:
        narrow = ["--interval", str(self.interval)] if self.interval else []
        return ["--epochs", str(self.epochs), "--upsample", "stored", *narrow]

    def seconds_needed(self):
        epoch = references.slowest(self.cell("time_per_epoch"))
        return epoch and self.epochs * epoch


@rfm.simple_test
class single_node(Timing):
    """Time per epoch with 1 to 4 devices of one node (Figure 3)."""

    descr = "ResNet-50 on the devices of one node"
    check = "single_node"
    nodes = 1
    devices = parameter(DEVICES, loggable=True)
    metrics = SPEED
    valid_systems = ["+compute +gpu"]
    tags = {"nightly", "acceptance"}

    @run_after("init")
    def one_rank_per_device(self):
        self.ranks_per_node = self.devices


class Sweep(Timing):
    """Node counts compared with one node, measured in the same session."""

    nodes = parameter(NODES, loggable=True)
    metrics = (*SPEED, "scaling_efficiency")
    valid_systems = ["+compute +multinode"]

    @run_after("init")
    def need_one_node(self):
        if self.nodes > 1:
            (one,) = type(self).get_variant_nums(nodes=lambda n: n == 1)
            self.one_node = type(self).variant_name(one)
            self.depends_on(self.one_node, udeps.by_case)

    def derived(self, metric: str) -> float:
        """`scaling_efficiency`; epochs of other sizes drop other samples, so their times are not
        compared."""
        one = self
        if self.nodes > 1:
            one = self.getdep(self.one_node, part=self.current_partition.name)
        return efficiency(one.record, self.record, self.nodes)


def efficiency(one: dict, many: dict, nodes: int) -> float:
    """Throughput of the record of n nodes over n times that of the record of one node."""
    base, own = (record["metrics"]["throughput"]["value"] for record in (one, many))
    return own / (nodes * base)


@rfm.simple_test
class scaling(Sweep):
    """Strong scaling: the same data on 1 to 24 nodes (Figure 4)."""

    descr = "ResNet-50, strong scaling"
    check = "scaling"
    tags = {"nightly", "acceptance"}


@rfm.simple_test
class weak_scaling(Sweep):
    """Weak scaling: as many steps on every node count, so that each device keeps its work and the
    data grow with the nodes."""

    descr = "ResNet-50, weak scaling"
    check = "weak_scaling"
    tags = {"acceptance"}
    #: Steps per epoch; 0: the partition's choice, else the paper's with data of the user's.
    steps = variable(int, value=0, loggable=True)

    @property
    def steps_per_epoch(self) -> int:
        usual = PAPER_STEPS if self.file.data else STEPS
        return self.steps or self.partition.extras.get("weak_steps", usual)

    def recipe(self) -> list:
        return [*super().recipe(), "--steps-per-epoch", str(self.steps_per_epoch)]
