"""Full trainings: how well the model scores and how long that takes; as a chain of jobs where the
queue's limit is shorter."""

import math

import reframe as rfm
import reframe.utility.udeps as udeps
from reframe.core.builtins import parameter, run_after, run_before, sanity_function, variable
from reframe.core.exceptions import SanityError
from reframe.core.runtime import runtime

from bigearth.errors import InputError

from .. import catalogue, references
from .base import SLACK, START_UP_S, site_references
from .training import Learning

EPOCHS = 100  # of the paper's recipe
LINKS = 3  # the longest chain is one job more
WARNING_S = 900  # a job that meets its limit is told so this long before, and saves a checkpoint
STOPPED_EARLY = 75  # exit code of benchmarks.train after such a warning


class FullTraining(Learning):
    """The whole recipe, at one node count and with one kind of input."""

    nodes = parameter(catalogue.NODES, loggable=True)
    input = parameter(catalogue.INPUTS, loggable=True)
    #: Epochs of the training; 0: as many as the recipe has.
    epochs = variable(int, value=0, loggable=True)

    def recipe(self) -> list:
        inputs = {
            "multispectral": [],
            "rgb": ["--bands", "rgb"],
            "bilinear": ["--upsample", "bilinear"],
        }[self.input]
        return [*inputs, *(["--epochs", str(self.epochs)] if self.epochs else [])]

    def seconds_needed(self, cells):
        """From its own reference, else from the sweep's time per epoch on as many nodes."""
        own = references.slowest(cells["accuracy"][self.point]["training_time"])
        epoch = references.slowest(cells["scaling"][f"nodes={self.nodes}"]["time_per_epoch"])
        return own or (epoch and EPOCHS * epoch)

    def limit_time(self, seconds):
        longest = self.current_partition.extras.get("max_time_s")
        super().limit_time(seconds if seconds is not None else longest)

    def links_on(self, partition) -> int:
        """How many jobs have to come before the one that ends the training, so that none is longer
        than the queue allows."""
        content = site_references()
        if isinstance(content, InputError):
            return 0  # every check will say so before anything runs
        longest = partition.extras.get("max_time_s")
        seconds = self.seconds_needed(content["partitions"][partition.name])
        if not longest or not seconds:
            return 0
        return min(LINKS, math.ceil((START_UP_S + SLACK * seconds) / (longest - WARNING_S)) - 1)


@rfm.simple_test
class accuracy_link(FullTraining):
    """One job of a chain: trains until its limit is near, saves a checkpoint and leaves the rest to
    the next."""

    descr = "ResNet-50, part of a full training"
    check = "accuracy"
    link = parameter(range(1, LINKS + 1), loggable=True)
    tags = {"acceptance"}

    @run_after("init")
    def only_where_needed(self):
        here = [p for p in runtime().system.partitions if p.fullname in self.valid_systems]
        self.valid_systems = [p.fullname for p in here if self.links_on(p) >= self.link]
        self.perf_variables.clear()
        if self.link > 1:
            self.depends_on(link_name(type(self), self, self.link - 1), udeps.by_case)

    @run_after("setup")
    def ask_for_a_warning(self):
        self.job.options += [f"--signal=USR1@{WARNING_S}"]

    def recipe(self):
        first = (
            self
            if self.link == 1
            else self.getdep(link_name(type(self), self, 1), part=self.current_partition.name)
        )
        return [*super().recipe(), "--resume", "--out", first.stagedir]

    @sanity_function
    def saved_a_checkpoint(self):
        if self.job.exitcode not in (0, STOPPED_EARLY):
            raise SanityError(
                f"job {self.job.jobid} ended as {self.job.state} with exit code "
                f"{self.job.exitcode}: {self.last_words()}"
            )
        return True


def link_name(links, check, number: int) -> str:
    """The unique name of another link of the chain that `check` belongs to."""
    same = {
        "nodes": lambda n: n == check.nodes,
        "input": lambda i: i == check.input,
        "link": lambda k: k == number,
    }
    (variant,) = links.get_variant_nums(**same)
    return links.variant_name(variant)


@rfm.simple_test
class accuracy(FullTraining):
    """Scores and total time of a full training (Table 2, Figures 5 and 6)."""

    descr = "ResNet-50, full training"
    check = "accuracy"
    tags = {"acceptance"}

    @run_after("init")
    def need_links(self):
        longest = max(
            (
                self.links_on(p)
                for p in runtime().system.partitions
                if p.fullname in self.valid_systems
            ),
            default=0,
        )
        # all of them: the first one's folder holds the checkpoints
        for number in range(1, longest + 1):
            self.depends_on(link_name(accuracy_link, self, number), udeps.by_case)

    @run_before("run")
    def go_on(self):
        if self.links_on(self.current_partition):
            first = self.getdep(link_name(accuracy_link, self, 1), part=self.current_partition.name)
            self.options += ["--resume", "--out", first.stagedir]
            self.postrun_cmds = [f"cp {first.stagedir}/{name} ." for name in self.keep_files]

    def derived(self, metric: str) -> float:
        return math.fsum(row["time"] for row in self.record["tables"]["epochs"])
