import os

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from bigearth.learn import collective

RANKS = """
import numpy as np, tensorflow as tf
from bigearth.errors import InputError
from bigearth.learn import collective, guards, resnet

random = np.random.default_rng(5)
whole = random.normal(size=(3, 1000)).astype(np.float32)
for compression, tolerance in (("none", 1e-6), ("fp16", 2e-3)):
    ranks = collective.connect(groups=2, compression=compression)
    assert ranks.size == 3 and isinstance(ranks, collective.Horovod)
    own = whole[ranks.rank]

    @tf.function
    def average(a, b):
        return ranks.average([a, b])

    a, b = average(tf.constant(own[:700].reshape(7, 100)), tf.constant(own[700:]))
    got = np.concatenate([a.numpy().ravel(), b.numpy()])
    assert a.shape == (7, 100)
    np.testing.assert_allclose(got, whole.mean(0), atol=tolerance)
    assert len(set(ranks.gather(got.tobytes()))) == 1  # the same bits everywhere

assert ranks.sum(np.arange(4) * (ranks.rank + 1)).tolist() == [0, 6, 12, 18]
assert ranks.gather(f"rank {ranks.rank}") == ["rank 0", "rank 1", "rank 2"]
v = tf.Variable(float(ranks.rank))
ranks.broadcast([v])
assert v.numpy() == 0

# synchronised normalisation: three parts of a batch against the whole batch on one rank, gradient included
x = random.normal(2, 3, (6, 4, 4, 2)).astype(np.float32)
target = random.normal(size=x.shape).astype(np.float32)
def run(part, group):
    layer = resnet.SynchronisedBatchNormalization(group)
    inputs = tf.constant(x[part])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        out = layer(inputs, training=True)
        loss = tf.reduce_mean(tf.square(out - target[part]))
    return out.numpy(), tape.gradient(loss, inputs).numpy(), layer.moving_variance.numpy()
mine = slice(2 * ranks.rank, 2 * ranks.rank + 2)
out, gradient, variance = run(mine, ranks)
all_out, all_gradient, all_variance = run(slice(0, 6), collective.Single())
np.testing.assert_allclose(out, all_out[mine], atol=1e-5)
np.testing.assert_allclose(gradient / 3, all_gradient[mine], atol=1e-6)
np.testing.assert_allclose(variance, all_variance, rtol=1e-5)

# a rank whose memory flipped a bit is named, on all ranks
w = tf.Variable([1.0, 2.0 + (1e-6 if ranks.rank == 1 else 0)])
try:
    guards.check_equal_weights([w], ranks, "after epoch 3")
    raise SystemExit("not noticed")
except InputError as error:
    assert "rank 1 on" in str(error) and "rank 0" not in str(error) and "rank 2" not in str(error)
with ranks.trace("TRACE"):
    average(a, b)
print(f"fine {ranks.rank}\\n", end="")  # one write: what ranks print in pieces comes out mixed
"""


@pytest.mark.mpi
def test_three_ranks(mpirun, tmp_path):
    trace = tmp_path / "trace.json"
    done = mpirun(3, "-c", RANKS.replace("TRACE", str(trace)))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["0", "1", "2", "fine", "fine", "fine"]
    assert "ALLREDUCE" in trace.read_text() or "gradients" in trace.read_text()


def test_one_process_needs_no_horovod():
    single = collective.connect()
    assert type(single) is collective.Single and single.gather(3) == [3]
    assert single.sum(np.array([1, 2])).tolist() == [1, 2]
    assert [t.numpy() for t in single.average([tf.constant(2.0)])] == [2.0]


@pytest.mark.parametrize("given, used", [(None, collective.STALL_SECONDS), ("99", "99")])
def test_a_stalled_collective_ends_unless_the_site_says_otherwise(monkeypatch, given, used):
    name = "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS"
    monkeypatch.setattr(os, "environ", {"OMPI_COMM_WORLD_SIZE": "2"})
    if given:
        os.environ[name] = given
    seen = []
    monkeypatch.setattr(collective, "Horovod", lambda *_: seen.append(os.environ[name]))
    collective.connect()
    assert seen == [used]


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=40), st.integers(1, 8))
def test_groups_hold_every_tensor_once_last_first_and_balanced(sizes, groups):
    tensors = [np.zeros(s, np.float32) for s in sizes]
    fake = [type("T", (), {"shape": t.shape, "dtype": tf.float32}) for t in tensors]
    parts = collective.split_by_bytes(fake, groups)
    assert [i for part in parts for i in part] == list(reversed(range(len(sizes))))
    assert 1 <= len(parts) <= groups and all(parts)
    share = sum(sizes) / groups
    assert all(sum(sizes[i] for i in part) <= share + max(sizes) for part in parts[:-1])


def test_timeline_of_a_single_process_is_nothing(tmp_path):
    with collective.Single().trace(os.fspath(tmp_path / "trace.json")):
        pass
    assert not list(tmp_path.iterdir())
