"""Energy against counters that the test makes: a powercap tree that wraps, an NVML whose power is a
known curve."""

import os
import types

import pytest

from bigearth import energy, nvml

WRAP = 262_143_328_850  # microjoules, as on real processors


def made_tree(root, counters):
    """counters: folder -> (name, microjoules)."""
    for folder, (name, counted) in counters.items():
        path = root / folder
        path.mkdir(parents=True)
        (path / "name").write_text(f"{name}\n")
        (path / "energy_uj").write_text(f"{counted}\n")
        (path / "max_energy_range_uj").write_text(f"{WRAP}\n")
    return root


def test_rapl_counts_packages_and_memory_once_and_through_a_wrap(tmp_path):
    tree = made_tree(
        tmp_path,
        {
            "intel-rapl:0": ("package-0", WRAP - 1_500_000),
            "intel-rapl:0:0": ("core", 7),
            "intel-rapl:0:1": ("dram", 2_000_000),
            "intel-rapl:1": ("package-1", 10),
            "intel-rapl:2": ("psys", 10),
            "intel-rapl-mmio:0": ("package-0", 10),
        },
    )
    rapl = energy.Rapl(tree)
    later = {
        "intel-rapl:0": 500_000,  # 1.5 J to the wrap and 0.5 J after it
        "intel-rapl:0:0": 900_000_000,
        "intel-rapl:0:1": 5_000_000,  # 3 J
        "intel-rapl:1": 4_000_010,  # 4 J
        "intel-rapl:2": 900_000_000,
        "intel-rapl-mmio:0": 900_000_000,
    }
    for folder, counted in later.items():
        (tree / folder / "energy_uj").write_text(str(counted))
    rapl.sample(0.0)
    assert rapl.joules() == 2.0 + 3.0 + 4.0
    (tree / "intel-rapl:0" / "energy_uj").write_text("0")  # once round again, less 0.5 J
    rapl.sample(0.0)
    assert rapl.joules() == pytest.approx(9.0 + WRAP / 1e6 - 0.5, abs=1e-9)


class NVMLError(Exception):
    pass


def stand_in(power=None, counter=None):
    """An NVML of one GPU; `power()` in mW and `counter()` in mJ, or not supported."""

    def asked(value):
        def answer(handle):
            if value is None:
                raise NVMLError("Not Supported")
            return value()

        return answer

    return types.SimpleNamespace(
        NVMLError=NVMLError,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetHandleByUUID=lambda name: name,
        nvmlDeviceGetUUID=lambda handle: b"GPU-5f",
        nvmlDeviceGetPowerUsage=asked(power),
        nvmlDeviceGetTotalEnergyConsumption=asked(counter),
    )


def test_sampled_power_is_the_integral_of_the_curve(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    now = [0.0]
    library = stand_in(power=lambda: 1000 * (100 + 30 * now[0]))  # 100 W, 30 W more per second
    source = energy.NvmlPower(library, 0, now[0])
    for seconds in (0.3, 1.0, 1.1, 4.0):
        now[0] = seconds
        source.sample(seconds)
    assert source.joules() == pytest.approx(100 * 4 + 30 * 4**2 / 2)


def test_the_energy_counter_comes_first_and_is_in_millijoules(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    counted = [5_000_000]
    meter = energy.Meter(
        powercap=tmp_path, nvml=stand_in(power=lambda: 1, counter=lambda: counted[0])
    )
    meter.start()
    counted[0] += 12_345
    measured = meter.stop()
    assert measured == energy.Energy(12.345, energy.NvmlCounter.source, "GPU-5f")


def test_what_the_gpu_lacks_is_taken_from_the_next_source(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    tree = made_tree(tmp_path, {"intel-rapl:0": ("package-0", 0)})
    power = energy.Meter(powercap=tree, nvml=stand_in(power=lambda: 250_000))
    power.start()
    assert power.stop().source == energy.NvmlPower.source
    none = energy.Meter(powercap=tree, nvml=stand_in())
    none.start()
    (tree / "intel-rapl:0" / "energy_uj").write_text("2500000")
    measured = none.stop()
    assert measured.source == energy.Rapl.source and measured.joules == 2.5


def test_without_any_counter_every_reason_is_given(monkeypatch, tmp_path):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    meter = energy.Meter(powercap=tmp_path, nvml=stand_in())
    meter.start()
    measured = meter.stop()
    assert measured.joules is None
    for part in ("Not Supported", "no RAPL counter", "not in a Slurm job"):
        assert part in measured.reason


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_text("")])
def test_a_counter_that_goes_away_leaves_no_number(tmp_path, spoil):
    tree = made_tree(tmp_path, {"intel-rapl:0": ("package-0", 0)})
    meter = energy.Meter(powercap=tree, nvml=stand_in())
    meter.start()
    spoil(tree / "intel-rapl:0" / "energy_uj")
    measured = meter.stop()
    assert measured.joules is None and "could not be read to the end" in measured.reason


@pytest.mark.parametrize("answers, joules", [(["100", "350"], 250.0), (["0", "0"], None)])
def test_slurm_counts_the_step(monkeypatch, tmp_path, answers, joules):
    state = tmp_path / "answers"
    state.write_text("\n".join(answers) + "\n")
    program = tmp_path / "sstat"
    program.write_text(f"#!/bin/sh\nhead -n1 {state}\nsed -i 1d {state}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    meter = energy.Meter(powercap=tmp_path / "none", nvml=stand_in())
    meter.start()
    measured = meter.stop()
    assert measured.joules == joules
    assert measured.counter == ("7.0" if joules else None)


def test_total_takes_each_counter_once():
    node = [energy.Energy(5.0, "x", "n1"), energy.Energy(5.1, "x", "n1")]
    assert energy.total([*node, energy.Energy(7.0, "x", "n2")]).joules == 12.0
    assert energy.total([*node, energy.Energy(None, reason="why")]).reason == "why"
    mixed = energy.total([*node, energy.Energy(7.0, "y", "n2")])
    assert mixed.joules is None and "x, y" in mixed.reason


def test_the_device_of_a_rank_is_the_visible_one(monkeypatch):
    library = stand_in()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,2")
    assert nvml.device(library, 1) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aa")
    assert nvml.device(library, 0) == "GPU-aa"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(IndexError):
        nvml.device(library, 0)


def test_health_has_what_can_be_read_and_none_for_the_rest():
    library = stand_in(power=lambda: 71_500)
    library.NVML_VOLATILE_ECC = library.NVML_CLOCK_SM = library.NVML_CLOCK_MEM = 0
    library.NVML_TEMPERATURE_GPU = library.NVML_MEMORY_ERROR_TYPE_CORRECTED = 0
    library.NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    library.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: 0x44
    library.nvmlDeviceGetTotalEccErrors = lambda handle, kind, since: 3 if kind else 0
    seen = nvml.health(library, 0)
    assert seen["power"] == 71.5 and seen["throttling"] == "power cap, thermal, by hardware"
    assert seen["ecc_corrected"] == 0 and seen["ecc_uncorrected"] == 3
    assert seen["clock"] is None and seen["temperature"] is None
