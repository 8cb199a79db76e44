"""Which partitions are made of which nodes, and what is said of the rest."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearth.errors import InputError
from reframe_tests import site_plan
from reframe_tests.slurm import Gres, Node, Partition, parse_gres


def partition(name="batch", state="up", limit=3600, most=None, root=False):
    return Partition(name, state, limit, most, root)


def nodes(names, partitions=("batch",), gres="", features=(), **changes):
    """Alike nodes of the given names (words of a string)."""
    facts = {
        "arch": "x86_64",
        "sockets": 2,
        "cores_per_socket": 20,
        "threads_per_core": 1,
        "memory_mb": 190000,
        "state": "IDLE",
        **changes,
    }
    more = {"gres": parse_gres(gres), "features": frozenset(features), "partitions": partitions}
    return [Node(name=name, **facts, **more) for name in names.split()]


def make(partitions, nodes, engine="Apptainer", pmix=True):
    return site_plan.make(partitions, nodes, engine=engine, pmix=pmix)


def only(plan):
    (entry,) = plan.partitions
    return entry


def test_cpu_nodes():
    plan = make([partition(limit=1800)], nodes("n1 n2 n3"))
    entry = only(plan)
    assert entry["name"] == "batch" and entry["time_limit"] == "1800s"
    assert entry["access"] == ["--partition=batch", "--no-requeue"]
    assert entry["features"] == ["compute", "multinode"]
    assert entry["environs"] == ["native", "container"]
    assert entry["container_platforms"] == [{"type": "Apptainer", "default": True}]
    assert entry["extras"]["max_nodes"] == 3 and entry["extras"]["max_time_s"] == 1800
    assert "devices" not in entry
    assert plan.notes == []


def test_threads_of_a_core_are_counted():
    entry = only(make([partition()], nodes("n1 n2", threads_per_core=2)))
    assert entry["processor"] == {
        "arch": "x86_64",
        "num_cpus": 80,
        "num_cpus_per_core": 2,
        "num_cpus_per_socket": 40,
        "num_sockets": 2,
    }


@pytest.mark.parametrize(
    "gres, features, model, arch, option",
    [
        ("gpu:v100:4(S:0-1)", (), "v100", "sm_70", "gpu:v100"),
        ("gpu:nvidia_a100-sxm4-80gb:4", (), "nvidia_a100-sxm4-80gb", "sm_80",
         "gpu:nvidia_a100-sxm4-80gb"),
        ("gpu:a10:1", (), "a10", "sm_86", "gpu:a10"),
        ("gpu:gh200:4", (), "gh200", "sm_90", "gpu:gh200"),
        ("gpu:4", ("h100", "nvlink"), "h100", "sm_90", "gpu"),
    ],
)  # fmt: skip
def test_devices(gres, features, model, arch, option):
    entry = only(make([partition()], nodes("n1 n2", gres=gres, features=features)))
    (card,) = entry["devices"]
    assert (card["type"], card["model"], card["arch"]) == ("gpu", model, arch)
    assert "gpu" in entry["features"]
    options = [f"--gres={option}:{{num_gpus_per_node}}"]
    assert entry["resources"] == [{"name": "_rfm_gpu", "options": options}]


def test_gpus_without_a_name_are_a_question_and_nothing_is_made_up():
    plan = make([partition()], nodes("n1 n2", gres="gpu:4"))
    (card,) = only(plan)["devices"]
    assert "arch" not in card
    assert any("add model and arch" in todo for todo in plan.todos)


@pytest.mark.parametrize(
    "gres, feature, words",
    [
        ("gpu:mi250:8", "amd_gpu", "ROCm"),
        ("gpu:mi300a:4", "amd_gpu", "ROCm"),
        ("gpu:max_1550:6", "other_gpu", "nothing is known"),
    ],
)
def test_devices_that_no_image_drives_are_no_ordinary_gpus(gres, feature, words):
    plan = make([partition()], nodes("n1", gres=gres))
    assert feature in only(plan)["features"] and "gpu" not in only(plan)["features"]
    assert only(plan)["devices"][0]["type"] == feature
    assert any(words in todo for todo in plan.todos)


def test_slices_of_a_gpu():
    plan = make([partition()], nodes("n1 n2", gres="gpu:a100_1g.5gb:14"))
    entry = only(plan)
    assert entry["devices"][0]["num_devices"] == 1 and entry["extras"]["max_nodes"] == 1
    assert "multinode" not in entry["features"] and any("MIG" in todo for todo in plan.todos)


def test_whole_gpus_beside_slices():
    entry = only(make([partition()], nodes("n1", gres="gpu:a100_1g.5gb:14,gpu:a100:2")))
    assert entry["devices"][0]["num_devices"] == 2
    assert entry["resources"][0]["options"] == ["--gres=gpu:a100:{num_gpus_per_node}"]


def test_processors_that_no_image_exists_for():
    plan = make([partition()], nodes("n1 n2", arch="aarch64", gres="gpu:gh200:4"))
    assert any("no image of this suite exists" in todo for todo in plan.todos)


def options_of(plan):
    return {entry["name"]: entry["access"][2:] for entry in plan.partitions}


def test_kinds_of_node_are_told_apart_by_a_feature():
    mixed = nodes("a1 a2", gres="gpu:a100:4", features=("ib", "zone1", "a100"))
    mixed += nodes("h1 h2 h3", gres="gpu:h100:4", features=("ib", "h100", "x"))
    found = options_of(make([partition()], mixed))
    assert found == {"batch_a100": ["--constraint=a100"], "batch_h100": ["--constraint=h100"]}


def test_kinds_of_node_are_told_apart_by_their_devices():
    mixed = nodes("a1 a2", gres="gpu:a100:4") + nodes("h1 h2 h3", gres="gpu:h100:4")
    assert options_of(make([partition()], mixed)) == {"batch_a100": [], "batch_h100": []}


def test_kinds_of_node_that_nothing_tells_apart_exclude_the_others():
    mixed = nodes("a1 a2") + nodes("b1", cores_per_socket=64, state="DOWN*")
    plan = make([partition()], mixed)
    assert options_of(plan) == {"batch_40c": ["--exclude=b1"]}  # it may come back
    many = nodes(" ".join(f"node{i:04}" for i in range(200)), cores_per_socket=64)
    plan = make([partition()], [*nodes("a1 a2"), *many])
    assert [entry["name"] for entry in plan.partitions] == ["batch_128c"]
    assert any("no feature tells them" in note and "a1, a2" in note for note in plan.notes)


def test_nodes_that_differ_in_memory_only_are_one_kind():
    plan = make([partition()], nodes("n1") + nodes("n2", memory_mb=380000))
    assert only(plan)["extras"] == {
        "max_nodes": 2,
        "max_time_s": 3600,
        "memory_gb": 199.2,
        "launcher_options": list(site_plan.LAUNCHER_OPTIONS),
    }


@pytest.mark.parametrize(
    "state", ["IDLE+DRAIN", "DOWN*", "DOWN", "IDLE+RESERVED", "IDLE+MAINTENANCE", "MIXED+DRAIN",
              "UNKNOWN", "FUTURE", "IDLE*", "FAIL", "", "drained", "INVAL"],
)  # fmt: skip
def test_nodes_that_do_not_work_are_left_out_and_said(state):
    plan = make([partition()], [*nodes("n1 n2"), *nodes("n3", state=state)])
    assert only(plan)["extras"]["max_nodes"] == 2
    assert len(plan.notes) == 1 and "n3" in plan.notes[0]


@pytest.mark.parametrize(
    "state",
    ["IDLE", "ALLOCATED", "MIXED+PLANNED", "IDLE+CLOUD+POWERED_DOWN", "ALLOCATED+COMPLETING"],
)
def test_nodes_that_are_busy_or_asleep_count(state):
    assert make([partition()], nodes("n1", state=state)).notes == []


def test_partitions_that_take_no_jobs_are_left_out_and_said():
    closed = [partition("down", state="down"), partition("admin", root=True), partition("empty")]
    everywhere = nodes("n1 n2", partitions=("batch", "down", "admin"))
    plan = make([partition(), *closed], everywhere)
    assert only(plan)["name"] == "batch" and len(plan.notes) == 3
    with pytest.raises(InputError, match="no partition here that jobs could go to"):
        make(closed, everywhere)


def test_overlapping_partitions_are_named_once():
    devel = nodes("n1 n2", partitions=("batch", "devel", "short"))
    plan = make(
        [partition("short", limit=600), partition("devel"), partition("batch", limit=None)],
        [*devel, *nodes("n3 n4", partitions=("batch", "short"))],
    )
    assert only(plan)["name"] == "batch"
    assert plan.notes == [
        "partition short: its nodes are all in batch",
        "partition devel: its nodes are all in batch",
    ]


def test_partitions_that_share_some_nodes_are_both_kept_and_said():
    shared = nodes("n1", partitions=("a", "b")) + nodes("n2", partitions=("a",))
    plan = make([partition("a"), partition("b")], [*shared, *nodes("n3", partitions=("b",))])
    assert len(plan.partitions) == 2 and any("share 1 nodes" in todo for todo in plan.todos)


def test_the_largest_job_is_the_queues():
    assert only(make([partition(most=2)], nodes("n1 n2 n3")))["extras"]["max_nodes"] == 2


@pytest.mark.parametrize(
    "name, safe",
    [("amd.7763", "amd_7763"), ("login", "login_2"), ("no", "no_"), ("1gpu", "p_1gpu"),
     ("*", "partition"), ("gpu-a100", "gpu_a100"), ("b c", "b_c")],
)  # fmt: skip
def test_unsafe_names_get_a_safe_one_and_jobs_keep_slurms(name, safe):
    entry = only(make([partition(name)], nodes("n1", partitions=(name,))))
    assert entry["name"] == safe and f"--partition={name}" in entry["access"]


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5, unique=True))
def test_every_name_is_safe_and_there_once(names):
    taken = set()
    for name in names:
        safe = site_plan.safe_name(name, taken)
        assert re.fullmatch("[A-Za-z][A-Za-z0-9_]*", safe) and safe not in taken
        assert safe.lower() not in site_plan.YAML_WORDS
        taken.add(safe)


def test_what_the_site_lacks_is_asked():
    plan = make([partition(limit=None)], nodes("n1"), engine=None, pmix=False)
    text = " ".join(plan.todos)
    assert "neither Apptainer nor Singularity" in text and "PMIx" in text and "24 hours" in text
    assert only(plan)["environs"] == ["native"] and only(plan)["extras"]["max_time_s"] == 86400


KINDS = st.lists(
    st.tuples(
        st.sampled_from(["", "gpu:a100:4", "gpu:h100:4", "gpu:4"]),
        st.sets(st.sampled_from(["a", "b", "c"])),
        st.sampled_from([16, 32]),
        st.sampled_from(["IDLE", "IDLE+DRAIN"]),
    ),
    min_size=1,
    max_size=8,
)


@given(KINDS)
def test_jobs_of_a_partition_get_nodes_of_one_kind_only(kinds):
    """What Slurm would choose from, for each written partition: all alike."""
    cluster = []
    for i, (gres, features, cores, state) in enumerate(kinds):
        facts = {"gres": gres, "features": features, "cores_per_socket": cores, "state": state}
        cluster += nodes(f"n{i}", **facts)
    try:
        plan = make([partition()], cluster)
    except InputError:
        assert all(node.state != "IDLE" for node in cluster)
        return
    for entry in plan.partitions:
        words = dict(word[2:].split("=") for word in entry["access"] if "=" in word)
        excluded = words.get("exclude", "").split(",")
        chosen = [node for node in cluster if node.name not in excluded]
        if "constraint" in words:
            chosen = [node for node in chosen if words["constraint"] in node.features]
        for resource in entry.get("resources", ()):
            _, *kind = resource["options"][0].split("=")[1].split(":")[:-1]
            chosen = [n for n in chosen if any(not kind or [g.type] == kind for g in n.gres)]
        assert len({(node.gres, node.cores_per_socket) for node in chosen}) == 1
        assert entry["extras"]["max_nodes"] == sum(node.state == "IDLE" for node in chosen)


def test_gres_of_other_names_are_no_gpus():
    assert site_plan.device(nodes("n1", gres="mem192:1,nic:4")[0]) is None
    assert site_plan.device(nodes("n1", gres="gpu:a100:0")[0]) is None
    assert Gres("gpu", "a100", 4) in nodes("n1", gres="gpu:a100:4")[0].gres
