"""What rank 0 says and writes while a run goes on: epoch lines, metrics.csv, steps.csv, TensorBoard files, MLPerf events."""

import csv
import logging
import sys
from pathlib import Path

import tensorflow as tf

from bigearth.errors import InputError, disk_error


class Log:
    """The log of a run; on ranks other than 0, and without a folder, it does nothing.

    Args:
        folder: where the files go.
        epochs: length of the run.
        mlperf: whether to write mlperf.log.

    Raises:
        InputError: the MLPerf package is asked for and missing.
    """

    def __init__(self, folder=None, epochs: int = 0, mlperf: bool = False):
        self._folder = Path(folder) if folder else None
        self._epochs = epochs
        self._mlperf = _MLPerf(self._folder / "mlperf.log") if mlperf and folder else None
        self._board = tf.summary.create_file_writer(str(self._folder / "tensorboard")) if folder else None

    def start(self, facts: dict) -> None:
        """The run begins; facts: what MLPerf logs of a run, e.g. {"global_batch_size": 128}."""
        if self._mlperf:
            self._mlperf.start(facts)

    def epoch_start(self, epoch: int) -> None:
        """An epoch begins, counted from 0."""
        if self._mlperf:
            self._mlperf.logger.start("epoch_start", metadata={"epoch_num": epoch + 1})

    def epoch(self, row: dict, tables: dict) -> None:
        """An epoch is done.

        Args:
            row: its row of the table of epochs.
            tables: file name without ".csv" -> all rows so far.

        Raises:
            InputError: the disk is full.
        """
        if not self._folder:
            return
        print(epoch_line(row, self._epochs), file=sys.stderr, flush=True)
        for name, rows in tables.items():
            write_table(self._folder / f"{name}.csv", rows)
        with self._board.as_default(step=row["epoch"]):
            for name, value in row.items():
                tf.summary.scalar(name, value)
        self._board.flush()
        if self._mlperf:
            self._mlperf.logger.end("epoch_stop", metadata={"epoch_num": row["epoch"]})
            self._mlperf.logger.event("eval_accuracy", row["val_f1_micro"], metadata={"epoch_num": row["epoch"]})

    def stop(self, status: str) -> None:
        """The run is over; status: "success" or "aborted"."""
        if self._mlperf:
            self._mlperf.logger.end("run_stop", metadata={"status": status})

    def say(self, sentence: str) -> None:
        """One line on standard error."""
        if self._folder:
            print(sentence, file=sys.stderr, flush=True)


def epoch_line(row: dict, epochs: int) -> str:
    """One epoch in one line."""
    return (
        f"epoch {row['epoch']}/{epochs}: {row['time']:.1f} s, {row['throughput']:.1f} img/s, rate {row['learning_rate']:.4g}, loss "
        f"{row['train_loss']:.4f}, val loss {row['val_loss']:.4f}, val F1 micro {row['val_f1_micro']:.4f} macro {row['val_f1_macro']:.4f}"
    )


def write_table(path: Path, rows: list) -> None:
    """Writes rows of one set of columns as CSV, under a temporary name first.

    Raises:
        InputError: the disk is full or not writable.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(path)
    except OSError as error:
        raise disk_error(path, "write it", error) from error


class _MLPerf:
    """`:::MLLOG` lines through the package that MLPerf's own checkers come with."""

    def __init__(self, path: Path):
        try:
            from mlperf_logging.mllog import mllog
        except ImportError as error:
            raise InputError(
                "command line: --mlperf needs the package mlperf-logging, which is not installed; run `make setup`, or leave it out"
            ) from error
        handler = logging.FileHandler(path)
        destination = logging.Logger("mlperf")
        destination.addHandler(handler)
        self.logger = mllog.MLLogger(destination, root_dir=str(Path(__file__).resolve().parents[2]))

    def start(self, facts: dict) -> None:
        self.logger.event("cache_clear", True)
        self.logger.start("init_start")
        for key, value in facts.items():
            self.logger.event(key, value)
        self.logger.end("init_stop")
        self.logger.start("run_start")
