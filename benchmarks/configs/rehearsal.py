"""The jobs of a real run with a small network: tries out a scheduler, a launcher and a file system,
and measures nothing.

Command:  srun python -m benchmarks.train --data FILE --config rehearsal --out DIR
Hardware: one rank per node of a virtual cluster, 24 ranks on two CPU cores.
"""

from bigearth.learn.config import TrainConfig

config = TrainConfig(
    network="resnet5",
    window=32,
    batch_size=2,
    epochs=2,
    steps_per_epoch=2,
    warmup_epochs=1,
    eager=True,
    threads=1,
    groups=1,
    samples=2,
)
