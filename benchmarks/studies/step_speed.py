"""Workload `step_speed`: the training step against a stock loop, against itself without
communication, and fed from the file.

    mpirun -np 2 python -m benchmarks.studies.step_speed --data FILE --out DIR --threads 1

Everything is measured in one run, in turns, on the same ranks. Four ways to train ResNet-50 on a
batch of 120 x 120 x 12:

- ours: this project's step (normalisation, augmentation, dropout and L2 included) on one batch that
  stays in memory
- from file: the same step, batches from the reader
- independent: the same step without collectives: as many one-rank trainings side by side; needs two
  ranks or more
- stock: Keras' `applications.ResNet50` in the loop of Horovod's own TensorFlow 2 example, on a
  batch in memory

Exit code 0 whatever the ratios are: they are in the record, for a reference to judge.
"""

import dataclasses
import itertools
import socket
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.train import use_device
from bigearth import cli, provenance, record
from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError, together
from bigearth.learn.config import TrainConfig
from bigearth.store import Store

DESCRIPTION = (
    "Throughput of the training step: against stock Keras and Horovod, against "
    "independent ranks, and from the file."
)

# name, numerator, denominator, what the ratio has to reach
RATIOS = (
    ("stock loop", "ours", "stock", 1.0),
    ("batch in memory", "from file", "ours", 0.97),
    ("independent ranks", "ours", "independent", 0.92),
)
FIRST_STEP_SECONDS = 15.0  # what the first step, tracing included, has to stay under


@dataclasses.dataclass(frozen=True)
class Config:
    data: str = option(REQUIRED, "HDF5 file of patches", repeats=True)
    out: str = option(REQUIRED, "folder for result.json", repeats=True)
    batch_size: int = option(64, "samples per rank and step", least=1)
    window: int = option(
        120, "side of the window that is trained on, in pixels", least=32, most=120
    )
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = option(
        "float32", "compute dtype of convolutions"
    )
    threads: int = option(0, "CPU threads per rank; 0 lets TensorFlow take all cores", least=0)
    groups: int = option(4, "groups of gradients", least=1)
    steps: int = option(2, "steps of each way in a turn", least=1)
    repeats: int = option(
        4, "turns that are measured, each beginning with another way; one more goes before", least=1
    )


def run(config: Config) -> None:
    start = provenance.now()
    import tensorflow as tf

    from bigearth.learn import collective

    ranks = collective.connect(groups=config.groups)
    options = TrainConfig(
        data=config.data,
        batch_size=config.batch_size,
        window=config.window,
        precision=config.precision,
        threads=config.threads,
    )
    device = use_device(tf, ranks, options)
    with together(ranks.gather):
        store = Store(config.data)
        if len(store.indices("train")) < config.batch_size * ranks.size:
            raise InputError(
                f"{store.path}: the train split has {len(store.indices('train'))} patches, fewer "
                f"than {ranks.size} ranks x "
                f"{config.batch_size}; lower --batch-size"
            )
    ways, first = build(options, store, ranks)
    rates = {name: [] for name in ways}
    names = list(ways)
    for turn in range(config.repeats + 1):
        # each in every place: what went before may matter
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            step = ways[name]
            ranks.barrier()
            begun = time.perf_counter()
            for _ in range(config.steps):
                step()
            seconds = ranks.gather(time.perf_counter() - begun)
            if turn:
                rates[name].append(sum(config.steps * config.batch_size / s for s in seconds))
    hosts = ranks.gather((ranks.rank, socket.gethostname(), device, first))
    with together(ranks.gather):
        if ranks.rank == 0:
            write(config, start, store, rates=rates, hosts=hosts)


def build(options: TrainConfig, store: Store, ranks) -> tuple:
    """The ways to train, each a function that takes one step, and the seconds of our first step."""
    import tensorflow as tf

    from bigearth.learn import collective, steps
    from bigearth.learn.inputs import Preprocess

    ours, resident, reader = build_step(options, store, ranks)
    ranks.barrier()  # a rank that is built later is not the step's doing
    begun = time.perf_counter()
    ours(resident)
    first = time.perf_counter() - begun
    batches = (batch for epoch in itertools.count() for batch in reader.dataset(epoch))
    ways = {"ours": lambda: ours(resident), "from file": lambda: ours(next(batches))}
    if ranks.size > 1:
        alone, *_ = build_step(options, store, collective.Single())
        ways["independent"] = lambda: alone(resident)
    images = Preprocess()(resident)[:, : options.window, : options.window]
    ways["stock"] = stock(
        images, tf.cast(resident["classes"], tf.float32), steps.compute_dtype(options)
    )
    return ways, first


def build_step(options: TrainConfig, store: Store, ranks) -> tuple:
    """This project's training step, as a function of a batch that waits for the result; a batch in
    memory; and the reader."""
    import tensorflow as tf

    from bigearth.learn import losses, optimizer, resnet, steps
    from bigearth.learn.input.reader import Reader
    from bigearth.learn.inputs import Preprocess

    preprocess = Preprocess()
    reader = Reader(
        store,
        store.indices("train"),
        preprocess.keys,
        batch_size=options.batch_size,
        rank=ranks.rank,
        world_size=ranks.size,
    )
    resident = {key: tf.identity(x) for key, x in next(iter(reader.dataset(0))).items()}
    network = resnet.ResNet(
        dropout=options.dropout, precision=steps.compute_dtype(options), collective=ranks
    )
    optim = optimizer.create("sgd", network.trainable, weight_decay=0.0, momentum=0.9)
    scale = optimizer.LossScale() if options.precision == "float16" else None
    step = steps.make_train_step(
        config=options,
        preprocess=preprocess,
        network=network,
        optim=optim,
        scale=scale,
        loss_of=losses.bce,
        collective=ranks,
    )
    rate, epoch, flags = tf.constant(1e-3), tf.constant(0, tf.int64), tf.constant([0.0, 0.0])
    return (
        lambda batch: [x.numpy() for x in step(batch, rate, epoch, flags=flags)],
        resident,
        reader,
    )


def stock(images, target, dtype: str):
    """Keras' ResNet-50 in the loop of Horovod's
    `examples/tensorflow2/tensorflow2_synthetic_benchmark.py`, with this task's loss."""
    import horovod.tensorflow as horovod
    import tensorflow as tf

    horovod.init()
    tf.keras.mixed_precision.set_global_policy(dtype if dtype == "float32" else f"mixed_{dtype}")
    model = tf.keras.applications.ResNet50(
        weights=None, input_shape=images.shape[1:], classes=43, classifier_activation="sigmoid"
    )
    optim = tf.keras.optimizers.SGD(1e-3)
    entropy = tf.keras.losses.BinaryCrossentropy()

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = entropy(target, tf.cast(model(images, training=True), tf.float32))
        tape = horovod.DistributedGradientTape(tape)
        gradients = tape.gradient(loss, model.trainable_variables)
        optim.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    return lambda: step().numpy()


def write(config: Config, start: str, store: Store, rates: dict, hosts: list) -> None:
    """Prints the table and writes the record."""
    middle = {name: float(np.median(values)) for name, values in rates.items()}
    ratios = [
        {
            "against": name,
            "numerator": a,
            "denominator": b,
            "ratio": middle[a] / middle[b],
            "required": required,
        }
        for name, a, b, required in RATIOS
        if a in middle and b in middle
    ]
    for name, value in middle.items():
        print(f"{name:20} {value:8.2f} img/s over {len(hosts)} rank(s)", file=sys.stderr)
    for row in ratios:
        print(
            f"against {row['against']:20} {row['ratio']:6.3f}, required {row['required']}",
            file=sys.stderr,
        )
    slowest = max(first for *_, first in hosts)
    print(f"first step {slowest:.1f} s, required under {FIRST_STEP_SECONDS:.0f} s", file=sys.stderr)
    record.write(
        Path(config.out) / "result.json",
        record.Record(
            workload="step_speed",
            config=dataclasses.asdict(config),
            metrics={
                "throughput": record.metric("throughput", middle["ours"]),
                "throughput_per_device": record.metric(
                    "throughput_per_device", middle["ours"] / len(hosts)
                ),
                "step_time": record.metric(
                    "step_time", config.batch_size * len(hosts) / middle["ours"]
                ),
            },
            ranks=[
                {"rank": rank, "hostname": host, "device": device, "first_step": first}
                for rank, host, device, first in hosts
            ],
            tables={
                "ratios": ratios,
                "turns": [
                    {"name": name, "throughput": v}
                    for name, values in rates.items()
                    for v in values
                ],
            },
            files={},
            provenance=provenance.gather(start, [host for _, host, *_ in hosts], store.digest),
            repeats=cli.repeats(type(config)),
        ),
    )


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="benchmarks.studies.step_speed",
            description=DESCRIPTION,
            example="--data patches.h5 --out results/step --threads 1",
        ),
    )
