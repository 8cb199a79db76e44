"""A small, real run for two CPU cores: what `make run` trains.

Command:  mpirun -np 2 python -m benchmarks.train --data FILE --config benchmarks/configs/local.py --output DIR
Hardware: 2 ranks of one CPU thread each.
"""

from benchmarks.configs import TrainConfig

config = TrainConfig(
    window=60,
    precision="bfloat16",
    batch_size=8,
    epochs=14,
    learning_rate=0.8,
    warmup_epochs=1,
    decay_epochs="9,12",
    threads=1,
)
