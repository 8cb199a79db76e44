"""A small, real run for two CPU cores: what `make run` trains.

Command:  mpirun -np 2 python -m benchmarks.train --data FILE --config local --out DIR
Hardware: 2 ranks of one CPU thread each.
Time:     measured by `make run` on two cores of an Intel Xeon with AVX-512, 1 December 2026, beside
    other work: 22 s per epoch of 914 patches (15 to 29), 10 epochs.
Score:    measured in the same run, on its synthetic data: F1 micro 0.667 on the test patches.

Random windows of 60 pixels make a step about four times cheaper; validation and test see whole
patches. Blocks that start as the identity, and a last layer that starts at the frequencies of the
classes, let so short a run begin with learning. float32, because a CPU without AVX-512 has to
emulate bfloat16.
"""

from bigearth.learn.config import TrainConfig

config = TrainConfig(
    window=60,
    zero_gamma=True,
    prior_bias=True,
    batch_size=16,
    epochs=10,
    learning_rate=1.6,
    warmup_epochs=1,
    decay_epochs="6,9",
    threads=1,
)
