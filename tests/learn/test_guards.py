import math

import pytest
import tensorflow as tf

from bigearth.errors import InputError
from bigearth.learn import guards
from bigearth.learn.collective import Single
from bigearth.learn.config import TrainConfig

CONFIG = TrainConfig(data="x.h5", loss_limit=10.0)


def row(loss, norm):
    return {"step": 7, "learning_rate": 0.4, "loss": loss, "gradient_norm": norm}


class Ranks(Single):
    """Stands in for several ranks: gathers what the test says they have."""

    def __init__(self, values):
        self.size, self._values = len(values), values

    def gather(self, value):
        return self._values


@pytest.mark.parametrize(
    "loss, norm", [(math.nan, 1.0), (math.inf, 1.0), (0.5, math.nan), (11.0, 1.0)]
)
def test_bad_loss_stops_and_names_the_rank(loss, norm):
    ranks = Ranks([("n1", 0.5), ("n2", loss)])
    with pytest.raises(InputError) as error:
        guards.check_loss(row(loss, norm), 0.5, CONFIG, ranks)
    message = str(error.value)
    assert (
        "step 7" in message
        and "0.4" in message
        and "norm" in message
        and "--learning-rate" in message
    )
    assert ("rank 1 on n2" in message) == (loss != 0.5) and "rank 0" not in message


def test_good_loss_goes_on():
    guards.check_loss(row(0.69, 3.0), 0.7, CONFIG, Ranks([]))


def test_rank_with_other_weights_is_named():
    variables = [tf.Variable([1.0, 2.0]), tf.Variable(3)]
    own = guards.digest(variables)
    guards.check_equal_weights(
        variables, Ranks([("n1", own), ("n2", own), ("n3", own)]), "at the start"
    )
    with pytest.raises(InputError, match="at the start: the weights of rank 2 on n3 differ"):
        guards.check_equal_weights(
            variables, Ranks([("n1", own), ("n2", own), ("n3", "x")]), "at the start"
        )


def test_digest_sees_one_changed_bit():
    before = guards.digest([tf.Variable([1.0, 2.0])])
    assert (
        guards.digest([tf.Variable([1.0, 2.0000002])])
        != before
        == guards.digest([tf.Variable([1.0, 2.0])])
    )
