import csv
import errno
import json

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bigearth.errors import InputError
from bigearth.learn import log

ROW = {
    "epoch": 1,
    "time": 12.34,
    "throughput": 55.5,
    "learning_rate": 0.05,
    "train_loss": 0.25,
    "val_loss": 0.3,
    "val_f1_micro": 0.6,
    "val_f1_macro": 0.2,
}


def test_an_epoch_goes_to_the_screen_the_tables_and_tensorboard(tmp_path, capsys):
    run = log.Log(tmp_path, epochs=9)
    run.epoch(
        ROW, {"metrics": [ROW], "steps": [{"step": 0, "loss": 0.7}, {"step": 1, "loss": 0.6}]}
    )
    line = capsys.readouterr().err
    for part in ("epoch 1/9", "12.3 s", "55.5 img/s", "0.25", "0.6000", "0.05"):
        assert part in line
    (row,) = csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines())
    assert {k: float(v) for k, v in row.items()} == ROW
    assert (tmp_path / "steps.csv").read_text() == "step,loss\n0,0.7\n1,0.6\n"
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    kept = {name: tf.make_ndarray(events.Tensors(name)[0].tensor_proto) for name in ROW}
    assert kept == {name: pytest.approx(value) for name, value in ROW.items()}
    assert {events.Tensors(name)[0].step for name in ROW} == {1}


def test_other_ranks_are_silent(tmp_path, capsys):
    run = log.Log()
    run.start({"seed": 0})
    run.epoch_start(0)
    run.epoch(ROW, {"metrics": [ROW], "steps": []})
    run.say("hello")
    run.stop("success")
    assert capsys.readouterr() == ("", "")


def test_a_full_disk_is_one_sentence_and_the_old_table_stays(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    log.write_table(path, [{"a": 1}])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerows", full)
    with pytest.raises(InputError, match="metrics.csv.*No space left"):
        log.write_table(path, [{"a": 2}])
    assert path.read_text() == "a\n1\n"


def test_mlperf_events_pass_its_own_parser(tmp_path):
    parser = pytest.importorskip("mlperf_logging.compliance_checker.mlp_parser")
    run = log.Log(tmp_path, epochs=1, mlperf=True)
    run.start({"global_batch_size": 128, "seed": 1})
    run.epoch_start(0)
    run.epoch(ROW, {"metrics": [ROW], "steps": []})
    run.stop("success")
    lines, errors = parser.parse_file(str(tmp_path / "mlperf.log"), ruleset="4.1.0")
    assert not errors
    keys = [line.key for line in lines]
    assert (
        keys[:2] == ["cache_clear", "init_start"]
        and keys[-1] == "run_stop"
        and "eval_accuracy" in keys
    )
    assert (
        keys.index("init_stop")
        < keys.index("run_start")
        < keys.index("epoch_start")
        < keys.index("epoch_stop")
    )
    assert next(line for line in lines if line.key == "global_batch_size").value["value"] == 128


def test_mlperf_log_of_a_chain_of_jobs_is_that_of_one_long_job(tmp_path):
    pytest.importorskip("mlperf_logging")

    def keys(folder, jobs):
        folder.mkdir()
        for number, job in enumerate(jobs):
            run = log.Log(folder, epochs=3, mlperf=True)
            run.start({"seed": 1}, resumed=number > 0)
            for epoch in job:
                run.epoch_start(epoch)
                run.epoch(dict(ROW, epoch=epoch + 1), {"metrics": [ROW], "steps": []})
        run.stop("success")
        return [
            json.loads(line.split(":::MLLOG", 1)[1])["key"]
            for line in (folder / "mlperf.log").read_text().splitlines()
        ]

    assert keys(tmp_path / "chain", [[0], [1, 2]]) == keys(tmp_path / "long", [[0, 1, 2]])


def test_new_run_leaves_nothing_that_looks_like_its_result(tmp_path):
    for name in ("result.json", "samples.npz"):
        (tmp_path / name).write_text("of yesterday")
    log.Log(tmp_path, epochs=1).start({})
    assert not {"result.json", "samples.npz"} & {p.name for p in tmp_path.iterdir()}


def test_log_on_a_full_disk_fails_in_one_sentence(tmp_path, monkeypatch, capsys):
    pytest.importorskip("mlperf_logging")
    (tmp_path / "mlperf.log").symlink_to("/dev/full")
    with pytest.raises(InputError, match="cannot write the log: No space left on device"):
        log.Log(tmp_path, epochs=1, mlperf=True).start({"seed": 1})
    assert "Traceback" not in capsys.readouterr().err
