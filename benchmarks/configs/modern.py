"""A recipe for large global batches: the answers of the years after the paper to the accuracy it
loses on many GPUs.

Command:  srun python -m benchmarks.train --data FILE --config modern --out DIR (one rank per GPU)
Hardware: 1 to 24 nodes of 4 GPUs, 64 samples per GPU; GPUs before Ampere (V100) want --precision
    float16.
Time:     not measured on any GPU yet.
Score:    not measured on BigEarthNet yet; what it is for: F1 micro within 0.01 of the small-batch
          run at 16 times the global batch. The batch study (docs/training.md: small network,
          synthetic data) measured 0.743 at a global batch of 8 and 0.788 at 128.

LARS (You et al. 2017) with polynomial decay; the residual blocks start as the identity, and neither
BatchNorm nor biases are decayed (Goyal et al. 2017); labels are smoothed; convolutions compute in
bfloat16. No L2 in the loss: decay is in the optimizer.
"""

from bigearth.learn.config import TrainConfig

config = TrainConfig(
    mixup=0.2,
    label_smoothing=0.1,
    zero_gamma=True,
    prior_bias=True,
    dropout=0.5,
    l2=0.0,
    precision="bfloat16",
    batch_size=64,
    optimizer="lars",
    momentum=0.9,
    weight_decay=1e-4,
    learning_rate=0.6,
    scaling="linear",
    warmup_epochs=5,
    schedule="polynomial",
    epochs=100,
    checkpoint_epochs=1,
)
