"""Slurm's texts: recorded ones, ones of other versions, and any that Hypothesis makes."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearth.errors import InputError
from reframe_tests import slurm
from reframe_tests.slurm import Gres, Node, Partition

TEXTS = Path(__file__).parent / "slurm"


def nodes(name):
    return slurm.parse_nodes((TEXTS / name).read_text())


def test_recorded_answer_of_22_05():
    found = {node.name: node for node in nodes("nodes-22.05.txt")}
    assert sorted(found) == ["jr01", "jr02", "jw01", "jw02"]
    assert found["jw01"] == Node(
        name="jw01",
        arch="x86_64",
        sockets=2,
        cores_per_socket=20,
        threads_per_core=1,
        memory_mb=190000,
        gres=(Gres("gpu", "v100", 4),),
        features=frozenset(),
        state="IDLE",
        partitions=("v100",),
    )
    # its reason reads "Partitions=evil Gres=gpu:99"
    assert found["jr02"].state == "IDLE+DRAIN" and found["jr02"].partitions == ("k80",)
    assert found["jr02"].gres == (Gres("gpu", "k80", 4),)


def test_both_forms_of_an_answer_say_the_same():
    assert nodes("nodes-22.05.txt") == nodes("nodes-22.05-oneliner.txt")


def test_recorded_partitions():
    limit = 24 * 3600
    found = slurm.parse_partitions((TEXTS / "sinfo-22.05.txt").read_text())
    expected = [Partition(name, "up", limit, None, False) for name in ("v100", "k80")]
    assert found == expected


def test_old_answer():
    first, second = nodes("nodes-17.11.txt")
    assert first.gres == (Gres("gpu", "p100", 4), Gres("craynetwork", "", 4))
    assert first.features == {"p100", "broadwell"} and first.threads_per_core == 2
    assert first.partitions == ("gpu", "all")
    assert (second.arch, second.state) == ("", "DOWN*")


def test_new_answer():
    first, second = nodes("nodes-24.05.txt")
    assert (first.arch, first.sockets, first.state) == ("aarch64", 4, "ALLOCATED")
    assert first.gres == (Gres("gpu", "gh200", 4),) and first.partitions == ("normal", "debug")
    assert second.state == "IDLE+RESERVED+PLANNED"


@pytest.mark.parametrize(
    "text, found",
    [
        ("gpu:v100:4(S:0-1)", [Gres("gpu", "v100", 4)]),
        ("gpu:nvidia_a100-sxm4-40gb:8(S:0,2)", [Gres("gpu", "nvidia_a100-sxm4-40gb", 8)]),
        ("gpu:4", [Gres("gpu", "", 4)]),
        ("gpu", [Gres("gpu", "", 1)]),
        ("gpu:a100:2(IDX:0-1),gpu:a100_1g.5gb:14,mps:200", [
            Gres("gpu", "a100", 2), Gres("gpu", "a100_1g.5gb", 14), Gres("mps", "", 200),
        ]),
        ("gpu:v100:no_consume:4", [Gres("gpu", "v100", 4)]),
        ("tmp:7T", [Gres("tmp", "", 7 * 2**40)]),
        ("(null)", []),
        ("", []),
        ("gpu:a100:many,nic:2", [Gres("nic", "", 2)]),
        ("gpu:a100:4(S:0-1", [Gres("gpu", "a100", 4)]),
    ],
)  # fmt: skip
def test_generic_resources(text, found):
    assert slurm.parse_gres(text) == tuple(found)


@pytest.mark.parametrize(
    "limit, expected",
    [
        ("1-00:00:00", 86400),
        ("2:00:00", 7200),
        ("30:00", 1800),
        ("infinite", None),
        ("UNLIMITED", None),
        ("2-12:30:01", 217801),
        ("1-12", 129600),
        ("45", 45),
        ("n/a", None),
    ],
)
def test_time_limits(limit, expected):
    assert slurm.seconds(limit) == expected


@pytest.mark.parametrize("limit", ["\u0664:00", "1:2:3:4", "-5", "soon", "1-"])
def test_what_is_no_time_limit_is_refused(limit):
    with pytest.raises(InputError, match="time limit"):
        slurm.seconds(limit)


def test_lines_of_a_cluster_and_empty_lines_are_no_partitions():
    text = "CLUSTER: alpha\nbatch|up|1:00:00|1-infinite|no\n\nbatch|up|1:00:00|1-infinite|no\n"
    assert [p.name for p in slurm.parse_partitions(text)] == ["batch"]
    with pytest.raises(InputError, match="export SLURM_CLUSTERS=alpha"):
        slurm.parse_partitions(f"{text}CLUSTER: beta\n{text}")


@pytest.mark.parametrize(
    "parse, text",
    [
        (slurm.parse_partitions, "PARTITION AVAIL TIMELIMIT NODES\n"),
        (slurm.parse_partitions, "a|up|soon|1|no\n"),
        (slurm.parse_nodes, "slurm_load_node error: Unable to contact slurm controller\n"),
        (slurm.parse_nodes, "NodeName=n1 Arch=x86_64 CoresPerSocket=two\n"),
        (slurm.parse_nodes, "NodeName=n1 State=IDLE\n"),
    ],
)
def test_other_texts_are_one_sentence(parse, text):
    with pytest.raises(InputError) as caught:
        parse(text)
    assert "\n" not in str(caught.value) and "expected" in str(caught.value)


@pytest.mark.parametrize(
    "text, there",
    [
        ("srun: MPI types are...\nsrun: pmi2\nsrun: pmix_v3\nsrun: none\n", True),
        ("MPI plugin types are...\n\tnone\n\tpmix\nspecific pmix plugin versions: pmix_v4\n", True),
        ("MPI plugin types are...\n\tnone\n\tpmi2\n\tcray_shasta\n", False),
    ],
)
def test_whether_there_is_pmix(text, there):
    assert slurm.has_pmix(text) == there


WORDS = st.from_regex("[A-Za-z][A-Za-z0-9_.-]{0,8}", fullmatch=True)
NODES = st.builds(
    Node,
    name=WORDS,
    arch=st.sampled_from(["x86_64", "aarch64", "ppc64le", ""]),
    sockets=st.integers(1, 8),
    cores_per_socket=st.integers(1, 128),
    threads_per_core=st.integers(1, 8),
    memory_mb=st.integers(1, 10**8),
    gres=st.lists(
        st.builds(Gres, WORDS, st.one_of(st.just(""), WORDS), st.integers(1, 999)), max_size=3
    ).map(tuple),
    features=st.frozensets(WORDS, max_size=3),
    state=st.sampled_from(["IDLE", "IDLE+DRAIN", "DOWN*", "MIXED+RESERVED", "ALLOCATED"]),
    partitions=st.lists(WORDS, max_size=3, unique=True).map(tuple),
).filter(lambda node: all("no_consume" not in (g.name, g.type) for g in node.gres))


def written(node, between, reason):
    """A record as Slurm writes it; `between` stands between its lines."""
    gres = ",".join(":".join(filter(None, (g.name, g.type, str(g.count)))) for g in node.gres)
    lines = [
        f"NodeName={node.name}" + (f" Arch={node.arch}" if node.arch else ""),
        f"CoresPerSocket={node.cores_per_socket} CPUAlloc=0 CPUTot=1 CPULoad=N/A",
        f"AvailableFeatures=more ActiveFeatures={','.join(sorted(node.features)) or '(null)'}",
        f"Gres={gres or '(null)'}",
        "OS=Linux 5.14 #1 SMP Fri",
        f"RealMemory={node.memory_mb} AllocMem=0 Sockets={node.sockets} Boards=1",
        f"State={node.state} ThreadsPerCore={node.threads_per_core} TmpDisk=0",
        f"Partitions={','.join(node.partitions)} ",
        f"Reason={reason} [root@2026-01-01T00:00:00]",
    ]
    return between.join(lines)


@given(
    st.lists(NODES, max_size=5, unique_by=lambda node: node.name),
    st.sampled_from(["\n   ", " "]),
    st.sampled_from(["broken", "State=IDLE Sockets=9", "Gres=gpu:99 NodeName=other"]),
)
def test_what_is_written_is_read_whatever_the_reason_says(expected, between, reason):
    text = "\n\n".join(written(node, between, reason) for node in expected)
    found = slurm.parse_nodes(text)
    assert [dataclasses.asdict(node) for node in found] == [
        dataclasses.asdict(node) for node in expected
    ]


@given(st.text(alphabet=st.sampled_from("NodeName=|CLUSTER: \n\t0123456789-,()gpuup")))
def test_any_text_is_read_or_refused(text):
    for parse in (slurm.parse_nodes, slurm.parse_partitions, slurm.seconds, slurm.parse_gres):
        try:
            parse(text)
        except InputError as error:
            assert "\n" not in str(error)
