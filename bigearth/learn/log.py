"""What rank 0 says and writes while a run goes on: epoch lines, metrics.csv, steps.csv, TensorBoard
files, MLPerf events."""

import contextlib
import csv
import logging
import sys
from pathlib import Path

import tensorflow as tf

from bigearth.errors import InputError, disk_error
from bigearth.files import new_file

TABLES = ("metrics", "steps")  # that become CSV files
# of an earlier run in the same folder: they must not look like this one's
RESULTS = ("result.json", "samples.npz")


class Log:
    """The log of a run; on ranks other than 0, and without a folder, it does nothing.

    Args:
        folder: where the files go.
        epochs: length of the run.
        mlperf: whether to write mlperf.log.

    Raises:
        InputError: the MLPerf package is asked for and missing. From every method: the disk is full
            or not writable.
    """

    def __init__(self, folder=None, epochs: int = 0, mlperf: bool = False):
        self._folder = Path(folder) if folder else None
        self._epochs = epochs
        self._mlperf = _MLPerf(self._folder / "mlperf.log") if mlperf and folder else None
        with self._writing():
            self._board = (
                tf.summary.create_file_writer(str(self._folder / "tensorboard")) if folder else None
            )

    def start(self, facts: dict, resumed: bool = False) -> None:
        """The run begins, or goes on.

        Args:
            facts: what MLPerf logs of a run, e.g. {"global_batch_size": 128}.
            resumed: an earlier job began it: the log goes on where that one ended.
        """
        with self._writing():
            for name in RESULTS if self._folder else ():
                (self._folder / name).unlink(missing_ok=True)
            if self._mlperf:
                self._mlperf.start(facts, resumed)

    def epoch_start(self, epoch: int) -> None:
        """An epoch begins, counted from 0."""
        if self._mlperf:
            with self._writing():
                self._mlperf.logger.start("epoch_start", metadata={"epoch_num": epoch + 1})

    def epoch(self, row: dict, tables: dict) -> None:
        """An epoch is done.

        Args:
            row: its row of the table of epochs.
            tables: name -> all rows so far.
        """
        if not self._folder:
            return
        print(epoch_line(row, self._epochs), file=sys.stderr, flush=True)
        self.tables(tables)
        with self._writing():
            with self._board.as_default(step=row["epoch"]):
                for name, value in row.items():
                    tf.summary.scalar(name, value)
            self._board.flush()
            if self._mlperf:
                self._mlperf.logger.end("epoch_stop", metadata={"epoch_num": row["epoch"]})
                self._mlperf.logger.event(
                    "eval_accuracy", row["val_f1_micro"], metadata={"epoch_num": row["epoch"]}
                )

    def tables(self, tables: dict) -> None:
        """Writes those of `TABLES` as they are; name -> rows."""
        for name in TABLES if self._folder else ():
            write_table(self._folder / f"{name}.csv", tables[name])

    def stop(self, status: str) -> None:
        """The run is over; status: "success" or "aborted"."""
        if self._mlperf:
            with self._writing():
                self._mlperf.logger.end("run_stop", metadata={"status": status})

    def say(self, sentence: str) -> None:
        """One line on standard error."""
        if self._folder:
            print(sentence, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def _writing(self):
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            raise disk_error(
                self._folder,
                "write the log",
                error if isinstance(error, OSError) else OSError(" ".join(error.message.split())),
            ) from error


def epoch_line(row: dict, epochs: int) -> str:
    """One epoch in one line."""
    return (
        f"epoch {row['epoch']}/{epochs}: {row['time']:.1f} s, {row['throughput']:.1f} img/s, rate "
        f"{row['learning_rate']:.4g}, loss "
        f"{row['train_loss']:.4f}, val loss {row['val_loss']:.4f}, val F1 micro "
        f"{row['val_f1_micro']:.4f} macro {row['val_f1_macro']:.4f}"
    )


def write_table(path: Path, rows: list) -> None:
    """Writes rows of one set of columns as CSV.

    Raises:
        InputError: the disk is full or not writable.
    """
    with new_file(path, "write it") as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


class _MLPerf:
    """`:::MLLOG` lines through the package that MLPerf's own checkers come with."""

    def __init__(self, path: Path):
        try:
            from mlperf_logging.mllog import mllog
        except ImportError as error:
            raise InputError(
                "command line: --mlperf needs the package mlperf-logging, which is not installed; "
                "run `make setup`, or leave it out"
            ) from error
        self._path = path
        self._destination = logging.Logger("mlperf")
        self.logger = mllog.MLLogger(
            self._destination, root_dir=str(Path(__file__).resolve().parents[2])
        )

    def start(self, facts: dict, resumed: bool) -> None:
        self._destination.addHandler(_File(self._path, mode="a" if resumed else "w"))
        if resumed:
            return
        self.logger.event("cache_clear", True)
        self.logger.start("init_start")
        for key, value in facts.items():
            self.logger.event(key, value)
        self.logger.end("init_stop")
        self.logger.start("run_start")


class _File(logging.FileHandler):
    """Fails where logging's own would print a traceback and go on."""

    def handleError(self, record):
        raise
