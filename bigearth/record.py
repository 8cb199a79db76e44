"""The result record: the one JSON file that every workload writes, and what every metric means.

The only module that knows the record's schema. Standard library only.

{"schema": 1, "id": "5f0c…", "workload": "train"    copies of one run have one id
 "config":     {...}                       all of it, resolved
 "repeats":    ["seed", "out"]             runs that differ only in these options are repetitions
 "metrics":    {"f1_micro": {"value": 0.71, "unit": "1", "better": "higher"}, ...}
                                           a metric that could not be measured has value null and a
                                           "reason"; "interval" is its 95 % interval
 "ranks":      [{"rank": 0, "hostname": "n1", "device": "...", ...}, ...]
 "tables":     {"epochs": [{...}, ...], "per_class": [...]}
 "efficiency": {...}                       where the time went, or null
 "files":      {"samples": "samples.npz"}  beside the record
 "provenance": {"git_commit": ..., "image_digest": ..., "packages": {...}, "nodelist": [...], ...}}
"""

import argparse
import json
import math
import sys
import uuid
from typing import NamedTuple, Optional

from bigearth.errors import InputError
from bigearth.files import new_file, read_bytes

SCHEMA = 1
MOST_BYTES = 256 << 20  # of a record; a training on 4,096 ranks writes some 10 MB
AGAIN = "expected the result.json that a workload wrote; run it again"


class Definition(NamedTuple):
    """What a metric is.

    Attributes:
        unit: e.g. "s"; "1" is a ratio or a count.
        better: "higher" or "lower".
        text: what exactly is measured, in words.
    """

    unit: str
    better: str
    text: str


_SCORE = (
    "from true positives, false positives and false negatives summed over all classes; the paper's "
    "Table 2 is consistent with these"
)
_MACRO = "mean over classes; a class without a positive or a predicted positive counts 0"
_MATRIX = "operations per second of a large product of square matrices"
_SLOWEST = ", all devices at once, median of the slowest one"
_READ = "bytes of samples that plain reads bring from the HDF5 file per second"
_TURNS = "; all ranks over the slowest one's time, median of repeats"
METRICS = {
    "time_per_epoch": Definition(
        "s",
        "lower",
        "wall time of one pass over the training split on all ranks, validation not included; the "
        "mean over the timed epochs: all but the first of each job, which holds tracing and may "
        "have been begun by the job before (if there is no other, that one, and the record says "
        "so); a timing run (`--interval`) measures steps until their mean is known, and takes it "
        "times the steps of an epoch",
    ),
    "training_time": Definition(
        "s", "lower", "wall time of a whole training, over all jobs of a chain"
    ),
    "step_time": Definition(
        "s",
        "lower",
        "median wall time of one training step of the timed epochs, on the rank where it is the "
        "largest",
    ),
    "throughput": Definition(
        "img/s",
        "higher",
        "training samples of the timed epochs, over all ranks, divided by their wall time",
    ),
    "throughput_per_device": Definition(
        "img/s",
        "higher",
        "`throughput` divided by the number of ranks (one rank drives one device)",
    ),
    "scaling_efficiency": Definition(
        "1",
        "higher",
        "throughput on n nodes divided by n times the throughput on one node (strong scaling: the "
        "data stay the same; weak scaling: the data grow with the nodes)",
    ),
    "loss": Definition(
        "1",
        "lower",
        "binary cross-entropy on the test split, mean over patches and classes, without "
        "regularisation",
    ),
    "f1_micro": Definition("1", "higher", f"F1 score {_SCORE}"),
    "precision_micro": Definition("1", "higher", f"precision {_SCORE}"),
    "recall_micro": Definition("1", "higher", f"recall {_SCORE}"),
    "f1_macro": Definition("1", "higher", f"F1 score, {_MACRO}"),
    "precision_macro": Definition("1", "higher", f"precision, {_MACRO}"),
    "recall_macro": Definition("1", "higher", f"recall, {_MACRO}"),
    "f1_weighted": Definition("1", "higher", "F1 score, mean over classes weighted by support"),
    "f1_samples": Definition("1", "higher", "F1 score of each patch's labels, mean over patches"),
    "average_precision_micro": Definition(
        "1", "higher", "area under precision over recall of all (patch, class) pairs together"
    ),
    "average_precision_macro": Definition(
        "1", "higher", "average precision of each class, mean over classes with a positive"
    ),
    "input_throughput": Definition(
        "img/s", "higher", "samples that the reader alone delivers to the training process"
    ),
    "input_bandwidth": Definition(
        "GB/s", "higher", "bytes that the reader alone delivers; 1 GB is 10^9 bytes"
    ),
    "allreduce_bandwidth": Definition(
        "GB/s",
        "higher",
        "bus bandwidth of the largest all-reduce: 2 (n - 1) / n times its bytes over the slowest "
        "of n ranks' time, median over repeats",
    ),
    "allreduce_latency": Definition(
        "s", "lower", "time of an all-reduce of 1 kB on the slowest rank, median over repeats"
    ),
    "gradient_allreduce_time": Definition(
        "s",
        "lower",
        "time to all-reduce the network's gradients in the groups of a training step, nothing else "
        "going on; slowest rank, median over repeats",
    ),
    "matrix_float32": Definition("TFLOP/s", "higher", f"{_MATRIX} in float32{_SLOWEST}"),
    "matrix_tf32": Definition("TFLOP/s", "higher", f"{_MATRIX} in tf32{_SLOWEST}"),
    "matrix_bfloat16": Definition("TFLOP/s", "higher", f"{_MATRIX} in bfloat16{_SLOWEST}"),
    "matrix_float16": Definition("TFLOP/s", "higher", f"{_MATRIX} in float16{_SLOWEST}"),
    "memory_bandwidth": Definition(
        "GB/s", "higher", f"bytes read plus written by a copy in the device's memory{_SLOWEST}"
    ),
    "device_spread": Definition(
        "1",
        "lower",
        "slowest device's time of a matrix product less the fastest's, over the median; the "
        "largest of the precisions",
    ),
    "storage_sequential_cold": Definition(
        "GB/s", "higher", f"{_READ} in the file's order, not in the page cache{_TURNS}"
    ),
    "storage_sequential_warm": Definition(
        "GB/s", "higher", f"{_READ} in the file's order, in the page cache{_TURNS}"
    ),
    "storage_random_cold": Definition(
        "GB/s",
        "higher",
        f"{_READ} in random order, one request per sample, not in the page cache{_TURNS}",
    ),
    "storage_random_warm": Definition(
        "GB/s",
        "higher",
        f"{_READ} in random order, one request per sample, in the page cache{_TURNS}",
    ),
    "storage_opens": Definition(
        "1/s", "higher", f"times that the HDF5 file is opened and closed per second{_TURNS}"
    ),
    "storage_write": Definition(
        "GB/s",
        "higher",
        f"bytes written to files in the HDF5 file's folder, one per rank, fsync included{_TURNS}",
    ),
    "storage_fsync": Definition(
        "s", "lower", "time of a write of 4 kB and its fsync there, slowest rank, median of repeats"
    ),
    "prediction_error": Definition(
        "1",
        "lower",
        "mean relative error of the model's time per epoch where each size is predicted from the "
        "others",
    ),
    "energy_per_epoch": Definition(
        "J",
        "lower",
        "energy of the counters named in the provenance while the job trained and validated, over "
        "its epochs; each counter once",
    ),
    "images_per_joule": Definition(
        "1/J", "higher", "training samples of the job's epochs over the same energy"
    ),
    "patch_throughput": Definition(
        "patches/s", "higher", "preparation: patches written per second, over all ranks"
    ),
    "read_bandwidth": Definition(
        "GB/s", "higher", "preparation: bytes of pixels read from the source per second"
    ),
    "write_bandwidth": Definition(
        "GB/s", "higher", "preparation: bytes of arrays written to the HDF5 file per second"
    ),
    "imbalance": Definition(
        "1", "lower", "preparation: most patches of one rank divided by the mean over ranks"
    ),
    "container_step_ratio": Definition(
        "1", "higher", "time of a training step natively over that in a container"
    ),
    "container_all_reduce_ratio": Definition(
        "1", "higher", "time of an all-reduce natively over that in a container"
    ),
    "container_read_ratio": Definition(
        "1", "higher", "time to read samples natively over that in a container"
    ),
    "container_start_up": Definition(
        "s", "lower", "time that a container adds to the start of Python"
    ),
}


def metric(
    name: str,
    value: Optional[float],
    reason: Optional[str] = None,
    interval: Optional[tuple] = None,
    samples: Optional[int] = None,
) -> dict:
    """One entry of `metrics`.

    Args:
        name: a key of `METRICS`.
        value: in that metric's unit, or None if it could not be measured.
        reason: why it could not be measured; needed exactly when value is None.
        interval: (low, high), the 95 % interval, in the same unit.
        samples: how many measurements the value rests on.
    """
    about = {"unit": METRICS[name].unit, "better": METRICS[name].better}
    if value is None:
        if not reason:
            raise ValueError(f"metric {name}: a missing value needs a reason")
        return {"value": None, **about, "reason": reason}
    if not math.isfinite(value):
        raise ValueError(f"metric {name} is {value}: say why as a missing value instead")
    entry = {"value": float(value), **about}
    if interval is not None:
        low, high = interval
        if not low <= value <= high or not math.isfinite(high - low):
            raise ValueError(f"metric {name} is {value}, outside its interval {low} to {high}")
        entry["interval"] = [float(low), float(high)]
    if samples is not None:
        entry["samples"] = samples
    return entry


class Record:
    """One run of a workload. The attributes are the parts of the file, see the top of this module.

    Attributes:
        workload: e.g. "train"; config: option -> value; repeats: names of options.
        metrics: name -> what `metric` returned; ranks: a row per rank; tables: name -> rows.
        efficiency: the efficiency tree, or None; files: name -> file beside the record.
        provenance: what `provenance.gather` returned; id: names this run.
    """

    PARTS = ("workload", "config", "metrics", "ranks", "tables", "files", "provenance")

    def __init__(
        self,
        *,
        workload: str,
        config: dict,
        metrics: dict,
        ranks: list,
        tables: dict,
        files: dict,
        provenance: dict,
        repeats: tuple = (),
        efficiency: Optional[dict] = None,
        id: Optional[str] = None,
    ):
        self.workload = workload
        self.config = config
        self.metrics = metrics
        self.ranks = ranks
        self.tables = tables
        self.files = files
        self.provenance = provenance
        self.repeats = tuple(repeats)
        self.efficiency = efficiency
        self.id = id or uuid.uuid4().hex

    def value(self, name: str) -> Optional[float]:
        """A metric's value, None if it was not measured."""
        return self.metrics.get(name, {}).get("value")


def write(path, record: Record) -> None:
    """Writes a record, which has its final name only when it is complete.

    Raises:
        InputError: the folder is not writable or the disk is full.
    """
    content = {"schema": SCHEMA, **vars(record)}
    with new_file(path, "write the result record") as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def read(path) -> Record:
    """Reads a record and checks that it is built as `write` builds it.

    Raises:
        InputError: it cannot be read, is not a record, or is of another schema.
    """
    data = read_bytes(path, what="result record", most=MOST_BYTES)
    try:
        content = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:100] or "nested too deeply"
        raise InputError(f"{path}: not a result record ({why}); {AGAIN}") from error
    found = content.get("schema", "missing") if isinstance(content, dict) else "missing"
    if found != SCHEMA:
        raise InputError(
            f"{path}: record schema is {str(found)[:20]!r}, expected {SCHEMA}; read it with the "
            "version of the suite that wrote it"
        )
    missing = [part for part in Record.PARTS if part not in content]
    if missing:
        raise InputError(
            f"{path}: incomplete result record, {', '.join(missing)} missing; run it again"
        )
    fault = next(_faults(content), None)
    if fault:
        raise InputError(f"{path}: not a result record: {fault}; {AGAIN}")
    keywords = {part: content[part] for part in Record.PARTS}
    optional = {k: content[k] for k in ("repeats", "efficiency", "id") if content.get(k)}
    return Record(**keywords, **optional)


def _no_constant(word: str):
    raise ValueError(f"{word} is no number of JSON")


def _faults(content: dict):
    """What is not built as `write` builds it, each in a few words."""
    shapes = {
        "workload": str,
        "config": dict,
        "metrics": dict,
        "ranks": list,
        "tables": dict,
        "files": dict,
        "provenance": dict,
        "repeats": list,
        "efficiency": dict,
        "id": str,
    }
    for name, kind in shapes.items():
        optional = name not in Record.PARTS
        if not isinstance(content.get(name), kind) and not (optional and content.get(name) is None):
            yield f"{name!r} is no {'text' if kind is str else kind.__name__}"
            return
    if not all(isinstance(name, str) for name in content.get("repeats") or ()):
        yield "'repeats' holds no names"
    for name, entry in content["metrics"].items():
        yield from _metric_faults(name, entry)
    yield from _table_faults(content)
    for name, file in content["files"].items():
        if not isinstance(file, str) or "/" in file.replace("\\", "/") or file in ("", ".", ".."):
            yield f"file {name!r} is not the name of a file beside the record"


def _metric_faults(name: str, entry):
    if not isinstance(entry, dict) or not {"value", "unit"} <= set(entry):
        yield f"metric {name!r} has no value and unit"
        return
    if entry["value"] is not None and not is_number(entry["value"]):
        yield f"the value of metric {name!r} is not a number"
    if name in METRICS and entry["unit"] != METRICS[name].unit:
        yield f"metric {name!r} has unit {str(entry['unit'])[:20]!r}, not {METRICS[name].unit!r}"
    interval = entry.get("interval")
    if interval is not None and not (
        isinstance(interval, list) and len(interval) == 2 and all(map(is_number, interval))
    ):
        yield f"the interval of metric {name!r} is not two numbers"


def _table_faults(content: dict):
    for index, rank in enumerate(content["ranks"]):
        inner = (
            [rank.get(key) for key in ("step_time", "phases")] if isinstance(rank, dict) else [1]
        )
        if not all(part is None or isinstance(part, dict) for part in inner):
            yield f"row {index} of 'ranks' is not a rank's"
            return
    for name, rows in content["tables"].items():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            yield f"table {name!r} is not a list of rows"
    provenance = content["provenance"]
    for name, kind in (("packages", dict), ("libraries", dict), ("nodelist", list)):
        if not isinstance(provenance.get(name), (kind, type(None))):
            yield f"{name!r} of 'provenance' is no {kind.__name__}"


def is_number(value) -> bool:
    """Whether a JSON value is a finite number (True and False are none)."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def table() -> str:
    """The metrics as a Markdown table, for docs/methodology.md (`python -m bigearth.record`)."""
    rows = ["| Metric | Unit | Better | Meaning |", "|---|---|---|---|"]
    rows += [f"| `{name}` | {m.unit} | {m.better} | {m.text} |" for name, m in METRICS.items()]
    return "\n".join(rows)


if __name__ == "__main__":
    argparse.ArgumentParser(description="Prints the table of metrics.").parse_args()
    print(table())
