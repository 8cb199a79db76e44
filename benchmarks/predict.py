"""Workload `predict`: time per epoch at sizes, and on machines, that were not measured.

    python -m benchmarks.predict --machine machine.yaml --out results/predict
    python -m benchmarks.predict --record r1/result.json --record r2/result.json --out predict

From records of a sweep (`benchmarks.train` on different numbers of devices) the model is fitted,
and each size is predicted from the others to see by how much the model is wrong. A machine that is
not yet bought is a YAML file of its figures; a figure may be a range [low, high], and the
prediction then has one:

    work: {images: 269695, batch_size: 64}
    machine:
      step_time: [0.150, 0.170]        # s, one device alone, fed from memory
      devices_per_node: 4
      inside: {latency: 5.0e-6, bandwidth: 100.0e+9}     # s, bytes/s
      between: {latency: 8.0e-6, bandwidth: [10.0e+9, 12.0e+9]}
      spread: 0.01                     # of a device's step time, standard deviation over mean
      overlap: 0.6                     # part of the all-reduce that hides behind computing
      input_throughput: 20000          # images/s per node; leave it out if it is no limit
      epoch_overhead: 2.0              # s

It writes result.json, references.yaml (cells of origin `predicted`) and, from a sweep, extra-p.txt
for Extra-P.
"""

import dataclasses
import datetime
import socket
import sys
from pathlib import Path
from typing import List, Optional

import numpy as np

from bigearth import cli, prediction, provenance, record
from bigearth.cli import option
from bigearth.errors import InputError, one_line
from bigearth.files import new_file, read_bytes
from bigearth.learn import layers
from bigearth.prediction import Link, Machine, Prediction, Work

PROGRAM = cli.Program(
    module="benchmarks.predict",
    description="Time per epoch at sizes and on machines that were not measured.",
    example="--machine machine.yaml --out results/predict",
)
MOST_BYTES = 1 << 20  # of a file of figures
LARGEST = 4096  # devices
LINK = {"latency", "bandwidth"}
FIGURES = {field.name for field in dataclasses.fields(Machine)}
NEEDED = {"step_time", "devices_per_node", "inside", "between"}


@dataclasses.dataclass(frozen=True)
class Config:
    out: str = option("results/predict", "folder for the results", repeats=True)
    record: List[str] = option([], "result.json of a training; give it once for each of a sweep")
    machine: Optional[str] = option(None, "YAML file of a machine's figures")


def run(config: Config) -> None:
    start = provenance.now()
    if bool(config.record) == bool(config.machine):
        raise InputError(
            "command line: expected either --record, several times, or --machine; give one of them"
        )
    if config.machine:
        machines, work = read_machine(config.machine)
        source = f"figures of {Path(config.machine).name}"
        per_node, times = machines[0].devices_per_node, {}
        sizes = sizes_for(work, per_node)
        found = [prediction.predict_machine(machines, work, n) for n in sizes]
    else:
        times, work, per_node = read_sweep(config.record)
        source = f"fitted on {', '.join(map(str, sorted(times)))} devices"
        middles = {n: float(np.median(seconds)) for n, seconds in times.items()}
        fitted = prediction.fit(work, middles)
        sizes = sizes_for(work, per_node)
        found = [prediction.predict_fit(fitted, work, n) for n in sizes]
    write(
        config,
        start=start,
        source=source,
        work=work,
        per_node=per_node,
        times=times,
        found=found,
    )


def sizes_for(work: Work, per_node: int) -> list:
    """Devices to predict: whole nodes in powers of two and the paper's 12 and 24, as long as there
    is a step to take."""
    nodes = sorted({12, 24, *(2**k for k in range(LARGEST.bit_length()))})
    sizes = [n * per_node for n in nodes]
    most = min(LARGEST, work.images // work.batch_size)
    return [size for size in sizes if size <= most]


def read_sweep(paths: list) -> tuple:
    """Records of trainings on different numbers of devices.

    Returns:
        devices -> seconds per epoch of each run, the work, devices per node.

    Raises:
        InputError: not trainings, of different work, or of fewer than two sizes.
    """
    times, works, shapes = {}, set(), set()
    for path in paths:
        content = record.read(path)
        seconds = content.value("time_per_epoch")
        patches = content.provenance.get("patches")
        if content.workload != "train" or seconds is None or not isinstance(patches, dict):
            raise InputError(f"{path}: no training with a time per epoch; give such records")
        times.setdefault(len(content.ranks), []).append(seconds)
        network = content.config.get("network", "resnet50")
        works.add((patches.get("train"), content.config.get("batch_size"), network))
        hosts = [row.get("hostname") for row in content.ranks]
        shapes.add(max(hosts.count(host) for host in hosts))
    if len(works) > 1:
        raise InputError(
            f"{paths[-1]}: the records differ in train patches, batch size or network; expected "
            "one strong-scaling sweep; give records of like work"
        )
    if len(times) < 2:
        raise InputError(
            f"{paths[-1]}: all records are of {next(iter(times))} device(s); expected at least two "
            "sizes; add the record of another one"
        )
    images, batch_size, network = works.pop()
    size = float(sum(layers.gradient_bytes(network)))
    return times, Work(images, batch_size, size), max(shapes)


def read_machine(path: str) -> tuple:
    """The machines to compute with: the figures' middles first, then draws from their ranges.

    Returns:
        list of `Machine`, the work.

    Raises:
        InputError: the file is not built as this module's documentation says.
    """
    import yaml

    text = read_bytes(path, what="file of a machine's figures", most=MOST_BYTES)
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not YAML: {one_line(error)}; correct it there") from error
    parts = content if isinstance(content, dict) else {}
    figures, work = parts.get("machine"), parts.get("work")
    if set(parts) != {"machine", "work"} or not isinstance(figures, dict):
        raise InputError(f"{path}: expected `work` and `machine`; see `{PROGRAM.name} --help`")
    if not isinstance(work, dict) or set(work) != {"images", "batch_size"}:
        raise InputError(f"{path}: `work` needs images and batch_size, and no more; correct it")
    unknown, missing = sorted(set(figures) - FIGURES), sorted(NEEDED - set(figures))
    if unknown or missing:
        raise InputError(
            f"{path}: unknown figure(s): {', '.join(map(str, unknown)) or 'none'}, missing: "
            f"{', '.join(missing) or 'none'}; expected {', '.join(sorted(FIGURES))}"
        )
    random = np.random.default_rng(0)
    for name in ("images", "batch_size"):
        whole(path, name, work[name])
    middle = machine_of(path, figures, None)
    machines = [middle]
    if has_range(figures):
        machines += [machine_of(path, figures, random) for _ in range(prediction.DRAWS)]
    size = float(sum(layers.gradient_bytes()))
    return machines, Work(work["images"], work["batch_size"], size)


def has_range(figures: dict) -> bool:
    """Whether any figure, or one of a link's, is a range."""
    return any(
        isinstance(value, list) or (isinstance(value, dict) and has_range(value))
        for value in figures.values()
    )


def machine_of(path: str, figures: dict, random) -> Machine:
    """A machine whose ranges are drawn from, or at their middles without `random`."""
    values = {}
    for name, value in figures.items():
        if name in ("inside", "between"):
            if not isinstance(value, dict) or set(value) != LINK:
                raise InputError(f"{path}: {name} needs latency and bandwidth; correct it there")
            parts = {k: number(path, f"{name}.{k}", v, random=random) for k, v in value.items()}
            if parts["bandwidth"] <= 0:
                raise InputError(f"{path}: {name}.bandwidth is 0; expected bytes/s; correct it")
            values[name] = Link(**parts)
        elif name == "devices_per_node":
            values[name] = whole(path, name, value)
        else:
            values[name] = number(path, name, value, random=random)
    overlap = values.get("overlap", 0.0)
    if random is not None:
        values["overlap"] = min(overlap, 1.0)
    elif values["step_time"] <= 0 or overlap > 1:
        raise InputError(
            f"{path}: expected a step_time above 0 and an overlap of 0 to 1; correct them"
        )
    return Machine(**values)


def whole(path: str, name: str, value) -> int:
    """A whole number of at least 1."""
    if type(value) is not int or value < 1:
        raise InputError(f"{path}: {name} is {value!r}; expected a whole number; correct it there")
    return value


def number(path: str, name: str, value, random) -> float:
    """A figure, or a value of its range: 95 % of a normal distribution lie between its ends."""
    ends = value if isinstance(value, list) else [value, value]
    if len(ends) != 2 or not all(record.is_number(end) and end >= 0 for end in ends):
        raise InputError(
            f"{path}: {name} is {one_line(value)}; expected a number of at least 0 or a range "
            "[low, high]; correct it there"
        )
    low, high = sorted(ends)
    middle = (low + high) / 2
    if random is None or low == high:
        return float(middle)
    drawn = random.normal(middle, (high - low) / 2 / 1.96)
    return float(min(max(drawn, low * 0.5), high * 2))


def rows_of(found: list, work: Work, per_node: int) -> list:
    """The table of predictions; efficiency against the smallest size."""
    smallest = found[0]
    base = work.steps(smallest.devices) / smallest.seconds
    return [
        {
            "devices": p.devices,
            "nodes": -(-p.devices // per_node),
            "time_per_epoch": p.seconds,
            "interval": p.interval and [float(end) for end in p.interval],
            "reason": p.reason,
            "efficiency": work.steps(p.devices) / p.seconds / base,
        }
        for p in found
    ]


def cells(rows: list, work: Work, source: str) -> str:
    """Reference cells of origin `predicted`, to be copied into a site's file."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    lines = [f"# {source}; cells for reframe_tests/references", "scaling:"]
    for row in rows:
        if row["interval"] is None:
            continue
        value, high = row["time_per_epoch"], row["interval"][1]
        cell = (
            f"{{value: {value:.6g}, lower: null, upper: {high / value - 1:.3g}, unit: s, origin: "
            f"predicted, date: {today}, runs: 1, patches: {work.images}, source: "
            f"'benchmarks.predict, {source}', band: 'upper end of the 95 % interval'}}"
        )
        lines += [f"  nodes={row['nodes']}:", f"    time_per_epoch: {cell}"]
    return "\n".join(lines) + "\n"


def write(
    config: Config,
    *,
    start: str,
    source: str,
    work: Work,
    per_node: int,
    times: dict,
    found: List[Prediction],
) -> None:
    """Prints the table and writes the files."""
    rows = rows_of(found, work, per_node)
    for row in rows:
        ends = row["interval"]
        shown = row["reason"] if ends is None else f"{ends[0]:.4g} to {ends[1]:.4g} s"
        print(
            f"{row['devices']:6} devices {row['time_per_epoch']:10.4g} s, efficiency "
            f"{row['efficiency']:.3f}   ({shown})",
            file=sys.stderr,
        )
    middles = {n: float(np.median(seconds)) for n, seconds in times.items()}
    left_out = prediction.leave_one_out(work, middles)
    error = float(np.mean([abs(row["error"]) for row in left_out])) if left_out else None
    why = "fewer than three sizes were measured" if times else "nothing was measured"
    out = Path(config.out)
    texts = {"references.yaml": cells(rows, work, source)}
    if times:
        texts["extra-p.txt"] = prediction.extrap_text(times)
    for name, text in texts.items():
        with new_file(out / name, f"write {name}") as partial:
            partial.write_text(text)
    host = socket.gethostname()
    record.write(
        out / "result.json",
        record.Record(
            workload="predict",
            config=dataclasses.asdict(config),
            metrics={"prediction_error": record.metric("prediction_error", error, why)},
            ranks=[{"rank": 0, "hostname": host, "device": "CPU"}],
            tables={"predictions": rows, "leave_one_out": left_out},
            files={name.split(".")[0]: name for name in texts},
            provenance=provenance.gather(start, [host], None, source=source),
            repeats=cli.repeats(Config),
        ),
    )


if __name__ == "__main__":
    cli.main(Config, run, PROGRAM)
