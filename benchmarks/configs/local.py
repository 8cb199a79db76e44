"""A small, real run for two CPU cores: what `make run` trains.

Command:  mpirun -np 2 python -m benchmarks.train --data FILE --config local --out DIR
Hardware: 2 ranks of one CPU thread each.
Time:     measured on two cores of an AMD EPYC without AVX-512, 29 November 2026: 26 s per epoch of
    914 patches, 10 epochs.
Score:    measured in the same run, on the synthetic archive of `make run`: F1 micro 0.658 on the
    test patches, before samples were dealt to ranks as they are now.

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
