"""What a check keeps of a record."""

import pytest

from reframe_tests.results import evidence


@pytest.mark.parametrize(
    ("workload", "tree", "said"),
    [
        ("train", {"sentence": "2 ranks: 0.9 of ideal"}, "2 ranks: 0.9 of ideal"),
        ("train", None, "no efficiency tree: fewer than two steps"),
        ("train", {"sentence": 5}, "the efficiency tree has no sentence"),
        ("prepare", None, None),
    ],
)
def test_a_check_keeps_why_a_training_was_not_faster(workload, tree, said):
    provenance = {"image_digest": None, "dataset_digest": "sha256:1"}
    record = {"workload": workload, "efficiency": tree, "provenance": provenance}
    kept = evidence.summary({**record, "ranks": [], "metrics": {}}, 100)["efficiency"]
    assert kept is None if said is None else kept.startswith(said)
