"""yaml_reader: the same values as PyYAML's safe loader, and what it refuses."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reframe_tests.yaml_reader import MOST_DEPTH, read

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.dates(),
    st.text(),
    st.sampled_from(["1e3", "0x1f", "1_000", "yes", "~", "2026-11-30", "1:30", "", "null", "=1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_values_are_those_of_the_safe_loader(value, flow):
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    assert read(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["", "# nothing", "a: 1\nb:\n  - x: 2\n", "--- 1\n..."])
def test_text_as_people_write_it(text):
    assert read(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text, words",
    [
        ("a: 1\nb: 2\na: 3", "key 'a' is given twice"),
        ("x: {a: 1, a: 1}", "key 'a' is given twice"),
        ("? [1]\n: 2", "a key is a mapping or a list"),
        ("a: !!python/object:os.system ls", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1), "levels"),
        ("a: &b [1]\nc: *b", "it has an alias"),
        ("a: [1", "expected"),
        ("a: 2026-02-31", "day"),
    ],
)
def test_what_is_refused(text, words):
    with pytest.raises((yaml.YAMLError, ValueError), match=words):
        read(text)
