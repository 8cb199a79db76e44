"""The 43 classes and their mapping to 19."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearth import nomenclature
from bigearth.errors import InputError

LABELS = nomenclature.LABELS


def test_table_is_that_of_the_archive():
    assert len(LABELS) == len(set(LABELS)) == 43
    codes = [c.code for c in nomenclature.CLASSES]
    assert codes == sorted(set(codes))
    assert sum(c.label_19 is None for c in nomenclature.CLASSES) == 11
    assert {c.label_19 for c in nomenclature.CLASSES} - {None} == set(
        nomenclature.LABELS_19
    ) and len(nomenclature.LABELS_19) == 19
    # labels a patch
    assert 2.5 < sum(c.count for c in nomenclature.CLASSES) / nomenclature.ARCHIVE_PATCHES < 3.5


@given(st.sets(st.sampled_from(LABELS), min_size=1))
def test_binarise_marks_exactly_the_labels(labels):
    vector = nomenclature.binarise(labels, "here")
    assert vector.dtype == np.uint8 and {LABELS[i] for i in np.flatnonzero(vector)} == labels


@pytest.mark.parametrize(
    "labels, sentence",
    [(["Lawn"], "patch.json: unknown label 'Lawn'"), ([], "patch.json: no label")],
)
def test_binarise_refuses(labels, sentence):
    with pytest.raises(InputError, match=sentence):
        nomenclature.binarise(labels, "patch.json")


def test_the_two_spellings_of_shrub():
    assert (
        "Transitional woodland/shrub" in LABELS
        and ("Transitional woodland, shrub") in nomenclature.LABELS_19
    )


@given(st.lists(st.integers(0, 1), min_size=43, max_size=43))
def test_to_19_equals_a_loop(row):
    expected = [
        max(
            (value for value, c in zip(row, nomenclature.CLASSES) if c.label_19 == label), default=0
        )
        for label in nomenclature.LABELS_19
    ]
    assert nomenclature.to_19(np.array([row], np.uint8)).tolist() == [expected]
