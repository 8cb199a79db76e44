"""Values out of JSON: the fast ways give what the plain ones give."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plots.values import LARGEST, columns, number, numbers, parse, statistic

FLOATS = st.one_of(
    st.floats(), st.integers(-(10**400), 10**400), st.booleans(), st.none(), st.text(max_size=2)
)


def same(first, second):
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)  # NaN equals NaN


LEAVES = (
    st.floats() | st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.none() | st.text(max_size=3)
)


@given(
    st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
    )
)
def test_json_is_read_as_the_standard_library_reads_it(value):
    text = json.dumps(value)
    assert same(parse(text.encode()), json.loads(text))


def test_an_integer_beyond_64_bits_is_a_float():
    assert parse(b"[123456789012345678901234567890]") == [1.2345678901234568e29]


@pytest.mark.parametrize(
    "text", [b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e999}', b'["\\ud800"]']
)
def test_what_is_not_strictly_json_is_read_all_the_same(text):
    assert same(parse(text), json.loads(text))


@pytest.mark.parametrize("text", [b"", b"{", b"[1,]", b"\xff"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError):
        parse(text)


@given(st.lists(FLOATS))
def test_a_column_of_numbers_is_that_of_its_values(values):
    np.testing.assert_array_equal(numbers(values), [number(value) for value in values])


@given(st.lists(st.dictionaries(st.sampled_from("abc"), FLOATS)))
def test_a_table_turned_round_and_back_is_the_table(rows):
    table = columns(rows)
    assert set(table) == set().union(*rows)
    for name, column in table.items():
        kept = column.tolist() if isinstance(column, np.ndarray) else column
        expected = [row.get(name) for row in rows]
        for found, value in zip(kept, expected, strict=True):
            assert (
                same(found, value)
                if not isinstance(value, str) or value.isprintable()
                else found.isprintable()
            )


@given(st.lists(st.floats(-LARGEST, LARGEST) | st.just(math.nan), min_size=2))
def test_the_statistic_is_that_of_the_finite_values(values):
    finite = [value for value in values if math.isfinite(value)]
    mean, deviation, count = statistic(values)
    assert count == len(finite)
    if count > 1:
        assert (mean, deviation) == (
            pytest.approx(np.mean(finite)),
            pytest.approx(np.std(finite, ddof=1)),
        )
