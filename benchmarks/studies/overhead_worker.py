"""A rank of benchmarks.studies.overhead: does what it is asked, says how long it took, and sleeps
in between.

    python -m benchmarks.studies.overhead_worker FOLDER FILE BATCH

FOLDER/N.request holds the N-th word (step, all_reduce, read, stop); rank 0 answers with the seconds
in FOLDER/N.answer. Files and sleep rather than messages: a rank that waits in MPI or in a socket
would keep its core busy while the other side measures.
"""

import sys
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

REDUCED = 8 * 2**20  # float32 elements of an all-reduce: 32 MB
BLOCK = 4 * 2**20  # bytes of one read


def training_step(batch: int):
    """A function that trains the suite's ResNet-50 by one step on random patches."""
    import tensorflow as tf

    from bigearth.learn import optimizer, resnet

    network = resnet.ResNet(dropout=0.0)
    update = optimizer.create("sgd", network.trainable, weight_decay=0.0, momentum=0.9)
    images = tf.random.normal([batch, 120, 120, 12])
    labels = tf.cast(tf.random.uniform([batch, 43]) < 0.1, tf.float32)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                tf.nn.sigmoid_cross_entropy_with_logits(labels, network(images, training=True))
            )
        update.apply(tape.gradient(loss, network.trainable), 0.01)
        return loss

    return lambda: float(step())


def all_reduce(communicator):
    """A function that sums 32 MB over the ranks."""
    values, total = np.ones(REDUCED, np.float32), np.empty(REDUCED, np.float32)

    def reduce():
        communicator.Allreduce(values, total)
        assert total[-1] == communicator.size

    return reduce


def read(path: str):
    """A function that reads a whole file into one buffer, block by block."""
    block = memoryview(bytearray(BLOCK))

    def read_all():
        with open(path, "rb", buffering=0) as file:
            while file.readinto(block):
                pass

    return read_all


def main(folder: Path, path: str, batch: int) -> None:
    communicator = MPI.COMM_WORLD
    first = communicator.rank == 0
    makers = {"all_reduce": lambda: all_reduce(communicator)}
    if first:
        makers.update(read=lambda: read(path), step=lambda: training_step(batch))
    actions, turn, word = {}, 0, ""
    while word != "stop":
        request = folder / f"{turn}.request"
        while not request.exists():
            time.sleep(0.002)
        word, seconds = request.read_text(), 0.0
        if word in makers:
            if word not in actions:
                actions[word] = makers[word]()
            if word == "all_reduce":
                communicator.Barrier()
            start = time.perf_counter()
            actions[word]()
            seconds = time.perf_counter() - start
        if first:
            written = folder / f"{turn}.written"
            written.write_text(repr(seconds))
            written.rename(folder / f"{turn}.answer")
        turn += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
