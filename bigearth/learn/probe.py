"""The controlled experiment at the end of a training: why its steps were not faster.

It runs when everything else is done, so that losses, scores and times are those of a run without
it. The steps as they are were measured by the run itself: between steps of other kinds the reader
would have had time to get ahead.
"""

import numpy as np
import tensorflow as tf

from bigearth.errors import InputError, one_line
from bigearth.learn import efficiency
from bigearth.learn.collective import Single
from bigearth.learn.state import RunState

TURNS = 6  # and one more before: with four kinds at most 28 steps
LEAST_STEPS = 30  # a shorter job would take as long for the experiment as for its work


def probe(run: RunState):
    """Measures this run's steps against steps without what may slow them.

    Returns:
        `efficiency.Times`, the same on all ranks; None where the job has trained fewer than two
        steps.
    """
    rows = run.result.step_times
    if not any(row["seconds"] for row in rows):
        return None
    collective = run.collective
    mine = [seconds for row in rows for seconds in row["seconds"]]
    steps = {"full": np.array(collective.gather(mine)).T}
    count = len(mine) + 1  # and the first, which is not among them
    reasons = {}
    if count < LEAST_STEPS:
        why = f"the job took {count} steps; the experiment is left out below {LEAST_STEPS}"
        reasons = dict.fromkeys(efficiency.KINDS, why)
    else:
        ways, reasons = ways_of(run)
        steps.update(efficiency.experiment(ways, collective, TURNS, seed=run.config.seed))
    phases = run.result.phases
    outside = sum(phases.get(name, 0.0) for name in ("validate", "checkpoint"))
    return efficiency.Times(
        steps=steps,
        reasons=reasons,
        total_seconds=max(collective.gather(phases["train"] + outside)),
        run_steps=count,
    )


def ways_of(run: RunState) -> tuple:
    """The kinds of step that this run can take.

    Returns:
        kind -> function that takes one and waits for it; kind -> why it cannot.
    """
    batch = first_batch(run)
    ways = {"resident": lambda: take(run, run.train_step, batch)}
    reasons = {}
    if run.collective.size == 1:
        return ways, reasons
    ways["reduce"] = reducing(run)
    if run.config.batch_norm == "synchronised":
        why = "BatchNorm over all ranks communicates within the step"
        return ways, dict.fromkeys(("local", "alone"), why)
    local = run.make_step(collective=Single())
    # a second compiled step may not fit beside the first: better known before ranks wait for it
    failures = [why for why in run.collective.gather(failure_of(run, local, batch)) if why]
    if failures:
        return ways, dict.fromkeys(("local", "alone"), failures[0])
    ways["local"] = ways["alone"] = lambda: take(run, local, batch)
    return ways, reasons


def first_batch(run: RunState) -> dict:
    """A batch that stays in memory; a blank one if it cannot be read."""
    try:
        batch = next(run.readers["train"].batches(run.epoch, 0))
    except InputError:
        batch = run.readers["train"].blank()
    return {key: tf.identity(value) for key, value in batch.items()}


def take(run: RunState, step, batch: dict) -> None:
    """One step, at learning rate 0."""
    epoch, flags = tf.constant(run.epoch, tf.int64), tf.constant([0.0, 0.0])
    for outcome in step(batch, tf.constant(0.0), epoch, flags=flags):
        outcome.numpy()


def failure_of(run: RunState, step, batch: dict):
    """Why a step without communication cannot be taken; None if it can."""
    try:
        take(run, step, batch)
    except tf.errors.OpError as error:
        return f"a step without all-reduce failed: {one_line(error.message)}"
    return None


def reducing(run: RunState):
    """A function that averages arrays of the gradients' shapes over the ranks, in their groups."""
    gradients = [tf.zeros(v.shape, v.dtype) for v in run.network.trainable]

    @tf.function(autograph=False)
    def average():
        averaged = run.collective.average(gradients)
        return tf.add_n([tf.reshape(g, [-1])[0] for g in averaged])  # there when all are

    return lambda: average().numpy()
