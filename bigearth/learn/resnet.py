"""ResNet-50 for multi-label classification of patches (paper, section 3.5; He et al. 2016,
arXiv:1512.03385).

The form of He et al. and of `keras.applications.ResNet50`: a block that halves the resolution does
so in its first 1x1 convolution (the later "v1.5" does it in the 3x3 one, for 6 % more operations).
Convolutions have no bias, which the normalisation after them would cancel; their kernels start from
He's normal distribution over the fan-out.
"""

import itertools

import tensorflow as tf

from bigearth.learn.collective import Single, raw
from bigearth.learn.layers import NETWORKS

EPSILON = 1e-5


class SynchronisedBatchNormalization(tf.keras.layers.BatchNormalization):
    """BatchNorm over the global batch: every rank normalises with the mean and variance of all
    ranks' samples.

    Equal to BatchNorm on one rank that holds the whole batch; each rank's batch must have the same
    size.
    """

    def __init__(self, collective: Single, **keywords):
        super().__init__(**keywords)
        self._collective = collective

    def call(self, inputs, training=None, **_):
        if not training:
            return super().call(inputs, training=False)
        x = tf.cast(inputs, tf.float32)
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        joint = self._collective.mean(tf.stack([mean, variance + tf.square(mean)]))
        mean, variance = joint[0], joint[1] - tf.square(joint[0])
        for moving, new in zip(raw([self.moving_mean, self.moving_variance]), (mean, variance)):
            moving.assign_add((tf.cast(new, moving.dtype) - moving) * (1 - self.momentum))
        gamma, beta = raw([self.gamma, self.beta])
        normalised = tf.nn.batch_normalization(
            x, mean, variance, offset=beta, scale=gamma, variance_epsilon=self.epsilon
        )
        return tf.cast(normalised, inputs.dtype)


class ResNet:
    """The network: patches to logits.

    Args:
        name: one of `NETWORKS`.
        bands: input bands, 12 or 3.
        outputs: number of classes.
        dropout: rate before the last dense layer (0 for none).
        batch_norm: "local" (statistics of each rank's own batch), "synchronised" (of the global
            batch) or "frozen" (the moving statistics are used and never updated).
        zero_gamma: whether the last BatchNorm of every block starts at gamma 0, so that the block
            starts as the identity (Goyal et al. 2017, arXiv:1706.02677, section 5.1).
        precision: compute dtype: "float32", "bfloat16" or "float16"; variables, BatchNorm
            statistics and logits are float32.
        seed: of the initial weights.
        collective: for synchronised BatchNorm.

    Attributes:
        features: channels that the last dense layer sees; 2,048 in ResNet-50.
        variables: every tf.Variable, in an order that is the same in every run.
        trainable: those that the optimizer updates.
        kernels: the convolution kernels (the ones that the paper's L2 term covers).
        statistics: BatchNorm's moving means and variances.
    """

    def __init__(
        self,
        name: str = "resnet50",
        bands: int = 12,
        outputs: int = 43,
        dropout: float = 0.5,
        batch_norm: str = "local",
        zero_gamma: bool = False,
        precision: str = "float32",
        seed: int = 0,
        collective: Single = None,
    ):
        self._dropout = dropout
        self._frozen = batch_norm == "frozen"
        self._synchronised = batch_norm == "synchronised"
        self._collective = collective or Single()
        self._policy = tf.keras.mixed_precision.Policy(
            precision if precision == "float32" else f"mixed_{precision}"
        )
        # Before TensorFlow 2.12, CPUs without AVX-512 (and K80) have neither BatchNorm nor average
        # pooling in bfloat16.
        old = tuple(int(part) for part in tf.__version__.split(".")[:2]) < (2, 12)
        self._averaging_policy = "float32" if old and precision == "bfloat16" else self._policy
        # each layer its own: one seed for all would give equal shapes equal weights
        self._seeds = itertools.count(seed * 1000)
        blocks, width = NETWORKS[name]
        self.features = 4 * width * 2 ** (len(blocks) - 1)
        self._body = self._build_body(name, bands, zero_gamma)
        self._head = tf.keras.layers.Dense(
            outputs,
            name="logits",
            kernel_initializer=tf.keras.initializers.RandomNormal(
                stddev=0.01, seed=next(self._seeds)
            ),
            dtype="float32",
        )
        self._head.build((None, self.features))
        self.variables = raw(list(self._body.variables) + list(self._head.variables))
        self.trainable = raw(
            list(self._body.trainable_variables) + list(self._head.trainable_variables)
        )
        self.kernels = [v for v in self.trainable if len(v.shape) == 4]
        self.statistics = raw(self._body.non_trainable_variables)

    def __call__(self, images, training: bool, keep=None):
        """Scores patches.

        Args:
            images: (n, H, W, bands) float, normalised; any H and W.
            training: whether BatchNorm uses batch statistics and dropout is on.
            keep: (n, features) bool, the features that dropout leaves; needed for training with
                dropout.

        Returns:
            (n, outputs) float32 logits.
        """
        features = tf.cast(self._body(images, training=training and not self._frozen), tf.float32)
        if training and self._dropout > 0:
            features = tf.where(keep, features / (1 - self._dropout), 0.0)
        return self._head(features)

    def set_prior(self, frequency) -> None:
        """Starts the biases of the last layer so that every class is predicted with its frequency,
        (outputs,) in 0..1, not with 0.5.

        The first steps of a run then need not learn how rare the classes are (Lin et al. 2017,
        arXiv:1708.02002, section 3.3).
        """
        p = tf.clip_by_value(tf.cast(frequency, tf.float32), 1e-4, 0.99)
        raw([self._head.bias])[0].assign(tf.math.log(p / (1 - p)))

    def _build_body(self, name, bands, zero_gamma):
        stages, width = NETWORKS[name]
        inputs = tf.keras.Input((None, None, bands), dtype=self._policy.compute_dtype)
        x = self._convolution(inputs, width, size=7, stride=2, name="stem")
        x = self._activation(self._normalisation(x, "stem"))
        x = tf.keras.layers.MaxPooling2D(3, 2, "same", dtype=self._policy)(x)
        for stage, blocks in enumerate(stages):
            for block in range(blocks):
                x = self._bottleneck(
                    x,
                    width * 2**stage,
                    stride=2 if stage > 0 and block == 0 else 1,
                    project=block == 0,
                    zero_gamma=zero_gamma,
                    name=f"stage{stage + 1}_block{block + 1}",
                )
        pooled = tf.keras.layers.GlobalAveragePooling2D(dtype=self._policy)(x)
        return tf.keras.Model(inputs, pooled, name=name)

    def _bottleneck(self, x, width, *, stride, project, zero_gamma, name):
        # the pixels that 1x1 convolutions of that stride see, picked once for both: in the backward
        # pass they are dense
        if stride > 1:
            x = tf.keras.layers.AveragePooling2D(1, stride, dtype=self._averaging_policy)(x)
        shortcut = x
        if project:
            shortcut = self._convolution(x, 4 * width, name=f"{name}_shortcut")
            shortcut = self._normalisation(shortcut, f"{name}_shortcut")
        for number, size in ((1, 1), (2, 3)):
            x = self._convolution(x, width, size=size, name=f"{name}_{number}")
            x = self._activation(self._normalisation(x, f"{name}_{number}"))
        x = self._convolution(x, 4 * width, name=f"{name}_3")
        x = self._normalisation(x, f"{name}_3", zero_gamma)
        return self._activation(tf.keras.layers.Add(dtype=self._policy)([x, shortcut]))

    def _convolution(self, x, filters, *, size=1, stride=1, name):
        initializer = tf.keras.initializers.VarianceScaling(
            2.0, "fan_out", "truncated_normal", seed=next(self._seeds)
        )
        return tf.keras.layers.Conv2D(
            filters,
            size,
            strides=stride,
            padding="same",
            use_bias=False,
            kernel_initializer=initializer,
            name=f"{name}_conv",
            dtype=self._policy,
        )(x)

    def _normalisation(self, x, name, zero_gamma=False):
        keywords = dict(
            momentum=0.9,
            epsilon=EPSILON,
            gamma_initializer="zeros" if zero_gamma else "ones",
            name=f"{name}_bn",
            dtype=self._averaging_policy,
        )
        if self._synchronised:
            return SynchronisedBatchNormalization(self._collective, **keywords)(x)
        return tf.keras.layers.BatchNormalization(**keywords)(x)

    def _activation(self, x):
        return tf.keras.layers.ReLU(dtype=self._policy)(x)
