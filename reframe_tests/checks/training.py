"""ResNet-50 trained data-parallel: how long an epoch takes, how that scales."""

import reframe as rfm
import reframe.utility.udeps as udeps
from reframe.core.builtins import parameter, run_after, run_before, variable

from .. import catalogue, references
from ..results import evidence
from .base import ROOT
from .data import NeedsData
from .preflight import AfterPreflight


class Training(NeedsData, AfterPreflight):
    """benchmarks.train on the session's HDF5 file."""

    program = "benchmarks.train"
    #: File of benchmarks/configs/ that sets model and schedule; empty: the partition's choice, else
    # the paper's.
    config = variable(str, value="", loggable=True)
    keep_files = ["result.json", "metrics.csv", "samples.npz"]

    @run_before("run")
    def set_options(self):
        config = self.config or self.current_partition.extras.get("config", "paper")
        self.options = [
            "--config",
            str(ROOT / "benchmarks" / "configs" / f"{config}.py"),
            "--data",
            self.file.path,
            "--out",
            ".",
        ]
        self.options += self.recipe()

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
        if "rehearsal" not in self.current_partition.features:
            yield from evidence.learning_faults(self.record, self.contents)

    @run_before("performance")
    def hold_f1_against_guessing(self):
        """Where nobody has measured F1, it is judged by what always guessing the frequent classes
        reaches."""
        if self.is_dry_run() or "rehearsal" in self.current_partition.features:
            return
        if self.cells["f1_micro"]["origin"] == "unknown":
            floor = evidence.f1_floor(self.contents["splits"]["test"])
            limits = {"value": floor, "lower": 0.0, "upper": None, "unit": "1"}
            self.judge_by(
                {
                    **self.cells,
                    "f1_micro": {
                        **limits,
                        "origin": "computed",
                        "source": "the best constant guess and a margin",
                    },
                }
            )


@rfm.simple_test
class training(Learning):
    """A small, real training run on one node: the whole chain from archive to scores."""

    descr = "ResNet-50, small, one node"
    check = "training"
    nodes = 1
    tags = {"smoke", "nightly", "acceptance"}

    @run_after("setup")
    def choose_config(self):
        self.config = self.config or self.current_partition.extras.get("small_config", "local")


class Timing(Training):
    """Enough epochs to time: the first, which holds tracing and warm-up, does not count."""

    epochs = variable(int, value=3, loggable=True)

    def recipe(self) -> list:
        return ["--epochs", str(self.epochs)]

    def seconds_needed(self, cells):
        epoch = references.slowest(cells[self.check][self.point]["time_per_epoch"])
        return epoch and self.epochs * epoch


@rfm.simple_test
class single_node(Timing):
    """Time per epoch with 1 to 4 devices of one node (Figure 3)."""

    descr = "ResNet-50 on the devices of one node"
    check = "single_node"
    nodes = 1
    devices = parameter(catalogue.DEVICES, loggable=True)
    tags = {"nightly", "acceptance"}

    @run_after("init")
    def one_rank_a_device(self):
        self.ranks_per_node = self.devices


class Sweep(Timing):
    """Node counts compared with one node, measured in the same session."""

    nodes = parameter(catalogue.NODES, loggable=True)

    @run_after("init")
    def need_one_node(self):
        if self.nodes > 1:
            (one,) = type(self).get_variant_nums(nodes=lambda n: n == 1)
            self.one_node = type(self).variant_name(one)
            self.depends_on(self.one_node, udeps.by_case)

    def speedup(self) -> float:
        """Time per epoch on one node over that on these nodes."""
        base = (
            self.record
            if self.nodes == 1
            else self.getdep(self.one_node, part=self.current_partition.name).record
        )
        return (
            base["metrics"]["time_per_epoch"]["value"]
            / self.record["metrics"]["time_per_epoch"]["value"]
        )


@rfm.simple_test
class scaling(Sweep):
    """Strong scaling: the same data on 1 to 24 nodes (Figure 4)."""

    descr = "ResNet-50, strong scaling"
    check = "scaling"
    tags = {"nightly", "acceptance"}

    def derived(self, metric: str) -> float:
        return self.speedup() / self.nodes


@rfm.simple_test
class weak_scaling(Sweep):
    """Weak scaling: as many steps on every node count, so that each device keeps its work and the
    data grow with the nodes."""

    descr = "ResNet-50, weak scaling"
    check = "weak_scaling"
    tags = {"acceptance"}
    #: Steps an epoch; the paper's data give 40 on 24 nodes of 4 devices with 64 patches each.
    steps = variable(int, value=40, loggable=True)

    def recipe(self) -> list:
        return [
            *super().recipe(),
            "--steps-per-epoch",
            str(self.current_partition.extras.get("weak_steps", self.steps)),
        ]

    def derived(self, metric: str) -> float:
        return self.speedup()
