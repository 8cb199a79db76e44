"""Full trainings: how well the model scores and how long that takes; as a chain of jobs where the
queue's limit is shorter."""

import math

import reframe as rfm
import reframe.utility.udeps as udeps
from reframe.core.builtins import parameter, run_after, run_before, sanity_function, variable
from reframe.core.exceptions import SanityError
from reframe.core.runtime import runtime

from bigearth.errors import InputError
from reframe_tests import catalogue, quoting, references
from reframe_tests.checks.base import SLACK, START_UP_S, here, site_references
from reframe_tests.checks.preflight import NODES
from reframe_tests.checks.training import Learning

INPUTS = ("multispectral", "rgb", "bilinear")  # Tables 2 and 3, Figure 6
EPOCHS = 100  # of the paper's recipe
LINKS = 3  # the longest chain is one job more
WARNING_S = 900  # a job that meets its limit hears of it this long before, and saves a checkpoint
STOPPED_EARLY = 75  # exit code of benchmarks.train after such a warning


class FullTraining(Learning):
    """The whole recipe, at one node count and with one kind of input."""

    check = "accuracy"
    nodes = parameter(NODES, loggable=True)
    input = parameter(INPUTS, loggable=True)
    #: Epochs of the training; 0: as many as the recipe has.
    epochs = variable(int, value=0, loggable=True)
    valid_systems = ["+compute +multinode"]
    tags = {"acceptance"}

    def recipe(self) -> list:
        # patches of the user's own must be the paper's, made by DSen2: the recipe asks for that
        whole = [] if self.file.data else ["--upsample", "stored"]
        options = {
            "multispectral": whole,
            "rgb": ["--bands", "rgb", *whole],
            "bilinear": ["--upsample", "bilinear"],
        }[self.input]
        return [*options, *(["--epochs", str(self.epochs)] if self.epochs else [])]

    def seconds_needed(self):
        return self.seconds_on(self.current_partition.name)

    def seconds_on(self, partition: str):
        """From its own reference, else from the sweep's time per epoch on as many nodes."""
        content = site_references()
        if isinstance(content, InputError):
            return None  # every check will say so before anything runs
        own = references.cell(
            content,
            partition=partition,
            check="accuracy",
            point=self.point,
            metric="training_time",
        )
        epoch = references.cell(
            content,
            partition=partition,
            check="scaling",
            point=f"nodes={self.nodes}",
            metric="time_per_epoch",
        )
        slowest = references.slowest(epoch)
        return references.slowest(own) or (slowest and EPOCHS * slowest)

    def limit_time(self, seconds):
        super().limit_time(seconds if seconds is not None else self.partition.longest)

    def links_on(self, partition: str) -> int:
        """How many jobs have to come before the one that ends the training, so that none is longer
        than the queue allows."""
        longest = here()[partition].longest
        seconds = self.seconds_on(partition)
        if not longest or not seconds:
            return 0
        if longest <= WARNING_S:
            return LINKS
        return min(LINKS, math.ceil((START_UP_S + SLACK * seconds) / (longest - WARNING_S)) - 1)

    def most_links(self) -> int:
        """The longest chain on any partition that the check is for."""
        names = [p.name for p in runtime().system.partitions if p.fullname in self.valid_systems]
        return max((self.links_on(name) for name in names), default=0)


@rfm.simple_test
class accuracy_link(FullTraining):
    """One job of a chain: trains until its limit is near, saves a checkpoint and leaves the rest to
    the next."""

    descr = "ResNet-50, part of a full training"
    link = parameter(range(1, LINKS + 1), loggable=True)

    @run_after("init")
    def only_where_needed(self):
        self.point = catalogue.point_name({"nodes": self.nodes, "input": self.input})
        able = [p for p in runtime().system.partitions if p.fullname in self.valid_systems]
        self.valid_systems = [p.fullname for p in able if self.links_on(p.name) >= self.link]
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
    metrics = ("f1_micro", "precision_micro", "recall_micro", "training_time")

    @run_after("init")
    def need_links(self):
        # all of them: the first one's folder holds the checkpoints
        for number in range(1, self.most_links() + 1):
            self.depends_on(link_name(accuracy_link, self, number), udeps.by_case)

    @run_before("run")
    def go_on(self):
        if self.links_on(self.current_partition.name):
            first = self.getdep(link_name(accuracy_link, self, 1), part=self.current_partition.name)
            self.options += ["--resume", "--out", first.stagedir]
            self.postrun_cmds = [
                f"cp -r {quoting.word(f'{first.stagedir}/{name}')} ." for name in self.keep_files
            ]

    def derived(self, metric: str) -> float:
        return math.fsum(row["time"] for row in self.record["tables"]["epochs"])
