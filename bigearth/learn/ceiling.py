"""The speed of the device's matrix product, which no step exceeds."""

import time
from typing import Callable

CHAINED = 4  # products or copies of one call, so that the device does not wait for Python
TURN_SECONDS = 0.2  # of one timing, at least


def timings(ranks, work: Callable, repeats: int) -> list:
    """Seconds of one call, repeated; `work` waits for its result, and all ranks begin together."""
    work()
    begun = time.perf_counter()
    work()
    once = max(ranks.gather(time.perf_counter() - begun))
    calls = max(1, round(TURN_SECONDS / once))
    seconds = []
    for _ in range(repeats):
        ranks.barrier()
        begun = time.perf_counter()
        for _ in range(calls):
            work()
        seconds.append((time.perf_counter() - begun) / calls)
    return seconds


def compute_dtype(tf, precision: str):
    """Sets how float32 is computed, and returns the dtype of the operands."""
    tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
    return tf.float32 if precision == "tf32" else tf.dtypes.as_dtype(precision)


def matrix_product(tf, side: int, precision: str) -> Callable:
    """`CHAINED` products of square matrices."""
    dtype = compute_dtype(tf, precision)
    a = tf.cast(tf.random.stateless_normal((side, side), (0, 1)) / side**0.5, dtype)

    @tf.function
    def product():
        x = a
        for _ in range(CHAINED):
            x = tf.matmul(x, a)
        return tf.reduce_sum(tf.cast(x[0], tf.float32))

    def work():
        tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
        product().numpy()

    return work
