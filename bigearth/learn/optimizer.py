"""Optimizers: SGD with Nesterov momentum (paper, section 3.5), LARS and AdamW, on plain
tf.Variables.

Written here because one code must run on Keras 2 and 3 (whose optimizers differ), because Keras 3
has no LARS, and so that the whole state is a list of variables that a checkpoint can hold. Weight
decay and LARS's trust ratio leave out BatchNorm's gammas and betas and the biases: exactly the
variables of fewer than two dimensions (`is_decayed`).
"""

import tensorflow as tf


def is_decayed(variable) -> bool:
    """Whether weight decay and the trust ratio cover a variable: true for kernels, false for
    BatchNorm and biases."""
    return len(variable.shape) > 1


class Optimizer:
    """What the optimizers share.

    Args:
        variables: the tf.Variables to update.
        weight_decay: strength of the decay of kernels; 0 for none.

    Attributes:
        state: every tf.Variable of the optimizer, in an order that is the same in every run.
    """

    slots = ("momentum",)

    def __init__(self, variables: list, weight_decay: float = 0.0):
        self._variables = variables
        self._decay = [weight_decay if is_decayed(v) else 0.0 for v in variables]
        self._slots = {
            slot: [tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False) for v in variables]
            for slot in self.slots
        }
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.state = [v for slot in self.slots for v in self._slots[slot]] + [self._step]

    def apply(self, gradients: list, rate):
        """Updates the variables; call it inside a tf.function. Returns the number of updates so
        far, int64.

        Args:
            gradients: one float32 tensor per variable.
            rate: learning rate, float32 scalar.
        """
        step = self._step.assign_add(1)
        count = tf.cast(step, tf.float32)
        for i, (variable, gradient) in enumerate(zip(self._variables, gradients)):
            self._update(i, variable, gradient, decay=self._decay[i], rate=rate, step=count)
        return tf.identity(step)

    def _update(self, i, variable, gradient, decay, rate, step):
        raise NotImplementedError


class SGD(Optimizer):
    """SGD with momentum, in TensorFlow's fused kernel.

    The momentum holds gradients: u = m u + g; w -= r u, or with Nesterov w -= r (m u + g), where g
    has the decay d w added. A change of the rate r then acts at once on all of it (Goyal et al.
    2017, remark 2); where the momentum holds steps, as in Keras, a jump of the rate leaves one of
    the old size.
    """

    nesterov = True

    def __init__(self, variables, weight_decay=0.0, momentum=0.9):
        super().__init__(variables, weight_decay)
        # one tensor for all variables: less to trace
        self._momentum = tf.constant(momentum, tf.float32)

    def _update(self, i, variable, gradient, decay, rate, step):
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=self._slots["momentum"][i].handle,
            lr=rate,
            grad=self._scaled(variable, gradient, decay),
            momentum=self._momentum,
            use_nesterov=self.nesterov,
        )

    def _scaled(self, variable, gradient, decay):
        return gradient + decay * variable if decay else gradient


class LARS(SGD):
    """Layer-wise adaptive rate scaling (You, Gitman and Ginsburg 2017, arXiv:1708.03888, algorithm
    1).

    The rate of each kernel is multiplied by eta |w| / (|g| + d |w|); other variables take the plain
    rate.
    """

    nesterov = False
    eta = 0.001

    def _scaled(self, variable, gradient, decay):
        if not is_decayed(variable):
            return gradient
        weight, slope = tf.norm(variable), tf.norm(gradient)
        trust = tf.where(
            (weight > 0) & (slope > 0), self.eta * weight / (slope + decay * weight + 1e-12), 1.0
        )
        return trust * super()._scaled(variable, gradient, decay)


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101): w -= r (m /
    (sqrt v + eps) + d w)."""

    slots = ("first_moment", "second_moment")

    def __init__(self, variables, weight_decay=0.0, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
        super().__init__(variables, weight_decay)
        self._beta_1, self._beta_2, self._epsilon = beta_1, beta_2, epsilon

    def _update(self, i, variable, gradient, decay, rate, step):
        first, second = (self._slots[slot][i] for slot in self.slots)
        first.assign(self._beta_1 * first + (1 - self._beta_1) * gradient)
        second.assign(self._beta_2 * second + (1 - self._beta_2) * tf.square(gradient))
        direction = (
            first
            / (1 - self._beta_1**step)
            / (tf.sqrt(second / (1 - self._beta_2**step)) + self._epsilon)
        )
        if decay:
            direction += decay * variable
        variable.assign_sub(rate * direction)


class LossScale:
    """Dynamic loss scaling for float16: gradients too small for it are lifted by a factor, which is
    halved when they overflow and doubled after `PATIENCE` steps that did not (Micikevicius et al.
    2018, arXiv:1710.03740, section 3.2).

    Attributes:
        state: its tf.Variables.
    """

    PATIENCE = 2000

    def __init__(self, initial: float = 2.0**15):
        self._scale = tf.Variable(initial, trainable=False)
        self._good = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.state = [self._scale, self._good]

    def up(self, loss):
        """The loss to differentiate."""
        return loss * self._scale

    def down(self, gradients: list) -> list:
        """The true gradients again."""
        return [g / self._scale for g in gradients]

    def update(self, finite) -> None:
        """Adapts the factor; finite: whether this step's gradients were."""
        good = tf.where(finite, self._good + 1, 0)
        grown = good >= self.PATIENCE
        self._good.assign(tf.where(grown, tf.zeros_like(good), good))
        self._scale.assign(
            tf.where(
                finite,
                tf.where(grown, self._scale * 2, self._scale),
                tf.maximum(self._scale / 2, 1.0),
            )
        )


def create(kind: str, variables: list, weight_decay: float, momentum: float) -> Optimizer:
    """The optimizer of that name: "sgd", "lars" or "adamw", which has no use for `momentum`."""
    if kind == "adamw":
        return AdamW(variables, weight_decay)
    return {"sgd": SGD, "lars": LARS}[kind](variables, weight_decay, momentum)
