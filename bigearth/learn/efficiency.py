"""Why not faster: what each step loses, and to what, from the times of a controlled experiment.

In one job, in random order, all ranks take steps of five kinds (`KINDS`), each begun together. The
differences of their times are the losses; efficiencies in the sense of POP are ratios of
neighbours, so their product is what is left:

    ceiling      the operations of a step at the speed of the device's matrix product
      | device utilisation
    alone        one rank computes, the others wait
      | computation scaling
    local, mean  all ranks compute at once, without all-reduce
      | load balance
    local, slowest
      | communication efficiency: what the all-reduce adds beyond what hides behind computing
    resident     the step, from a batch in memory
      | input efficiency
    full         the step as it is, fed by the reader
      | epoch overhead: first step, validation, checkpoints
    total        wall time of the run per step

Levels are means: they add up to the run's time, rare slow steps included. What was not measured
is None with its reason. "full" may be the run's own steps: the experiment then follows the run, and
a machine that changed its speed in between shows as input.
"""

import time
from typing import NamedTuple, Optional

import numpy as np

from bigearth.intervals import median_interval

KINDS = ("full", "resident", "local", "alone", "reduce")
FACTORS = {  # factor -> (level below, level above): its value is their ratio
    "device_utilisation": ("ceiling", "alone"),
    "computation_scaling": ("alone", "local"),
    "load_balance": ("local", "slowest"),
    "communication": ("slowest", "resident"),
    "input": ("resident", "full"),
    "epoch_overhead": ("full", "total"),
}
LEVELS = ("ceiling", "alone", "local", "slowest", "resident", "full", "total")
CAUSES = {  # words for the sentence
    "computation_scaling": "ranks that disturb each other's computing",
    "load_balance": "ranks that wait for the slowest",
    "communication": "communication",
    "input": "input",
    "epoch_overhead": "work outside steps",
}
LEVEL = 0.95
DRAWS = 1000
LEAST_STEPS = 6  # fewer have no interval, and a loss without one is not named
STANDS_OUT = 0.02  # part of the others' time that a rank named slow takes more, at least
SMALLEST_LOSS = 0.005  # that the sentence names
DISTURBED = 0.1  # losses beyond the whole by which run and experiment do not fit together
ONE_RANK = "one rank"  # the reason why it has no losses between ranks


class Times(NamedTuple):
    """What the experiment and the run took.

    Attributes:
        steps: kind -> (steps, ranks) float, seconds; "alone" is (steps, 1). "full" is needed.
        reasons: kind -> why it was not measured.
        total_seconds: wall time of the run; None: there was none. run_steps: steps it took.
        ceiling_seconds: a step's operations at the device's matrix ceiling; None: unknown.
    """

    steps: dict
    reasons: dict
    total_seconds: Optional[float] = None
    run_steps: int = 0
    ceiling_seconds: Optional[float] = None


def experiment(ways: dict, ranks, turns: int, seed: int = 0) -> dict:
    """Takes a step of every kind in every turn, in an order that is drawn anew each time and the
    same on all ranks; one turn more goes before and is not counted.

    Args:
        ways: kind -> function that takes one step and waits for its result. "alone" is called on
            rank 0 only.
        ranks: this rank's connection to the others.

    Returns:
        kind -> (turns, ranks) seconds, the same on all ranks; "alone" is (turns, 1).
    """
    random = np.random.default_rng(seed)
    seconds = {kind: [] for kind in ways}
    for turn in range(turns + 1):
        for place in random.permutation(len(ways)):
            kind = list(ways)[place]
            ranks.barrier()
            begun = time.perf_counter()
            if kind != "alone" or ranks.rank == 0:
                ways[kind]()
            if turn:
                seconds[kind].append(time.perf_counter() - begun)
    found = {}
    for kind, mine in seconds.items():
        everyone = np.array(ranks.gather(mine)).T
        found[kind] = everyone[:, :1] if kind == "alone" else everyone
    return found


def series(times: Times) -> dict:
    """The levels that were sampled: level -> (kind, (steps,) seconds)."""
    found = {}
    for kind in ("full", "resident"):
        if kind in times.steps:
            # ranks leave a step with an all-reduce together: the last one to leave it counts
            found[kind] = kind, times.steps[kind].max(axis=1)
    if "local" in times.steps and times.steps["full"].shape[1] > 1:
        found["slowest"] = "local", times.steps["local"].max(axis=1)
        found["local"] = "local", times.steps["local"].mean(axis=1)
        if "alone" in times.steps:
            found["alone"] = "alone", times.steps["alone"][:, 0]
    return found


def with_counted(times: Times, found: dict) -> dict:
    """The levels with those that are counted, not sampled: the ceiling and the run's total."""
    found = dict(found)
    if times.ceiling_seconds is not None:
        found["ceiling"] = times.ceiling_seconds
    if times.total_seconds is not None:
        found["total"] = times.total_seconds / times.run_steps
    return found


def factors_of(found: dict) -> dict:
    """Ratio of every pair of neighbouring levels that were measured; a factor whose lower level is
    missing reaches down to the next one that is there, if that is the ceiling's."""
    values = {}
    for name, (below, above) in FACTORS.items():
        if name == "device_utilisation" and "ceiling" in found:
            lowest = [level for level in LEVELS[1:] if level in found][0]
            values[name] = found["ceiling"] / found[lowest]
        elif below in found and above in found:
            values[name] = found[below] / found[above]
    return values


def tree(times: Times, hosts: list, gradient_bytes: Optional[float] = None) -> dict:
    """The efficiency tree, as the record keeps it.

    Args:
        times: of the experiment.
        hosts: host name of every rank.
        gradient_bytes: that a step reduces.

    Returns:
        {"factors": {name: {"value", "interval", "loss", "reason"}}, "efficiency": the product
        without device utilisation, "levels": seconds, "hidden": part of the all-reduce,
        "bus_bandwidth": GB/s, "slow_ranks": rows, "sentence"}; a loss is a part of the
        total, and the losses and the product with device utilisation add up to 1.
    """
    sampled = {level: float(np.mean(x)) for level, (_, x) in series(times).items()}
    found = with_counted(times, sampled)
    values = factors_of(found)
    intervals = _intervals(times)
    highest = found.get("total", found["full"])
    factors = {}
    for name, (_, above) in FACTORS.items():
        if name in values:
            top = found.get(above, found[_lowest(found)])
            factors[name] = {
                "value": values[name],
                "interval": intervals.get(name),
                "loss": (1 - values[name]) * top / highest,
            }
        else:
            factors[name] = {"value": None, "reason": _reason(times, name)}
    base = found[_lowest(found)]
    result = {
        "factors": factors,
        "efficiency": base / highest,
        "levels": found,
        "ranks": len(hosts),
        "slow_ranks": slow_ranks(times, hosts),
        **_network(times, found, gradient_bytes),
    }
    result["sentence"] = sentence(result)
    return result


def _lowest(found: dict) -> str:
    """The lowest level that a device reached."""
    return next(level for level in LEVELS[1:] if level in found)


def _reason(times: Times, name: str) -> str:
    if times.steps["full"].shape[1] == 1 and name in (
        "computation_scaling",
        "load_balance",
        "communication",
    ):
        return ONE_RANK
    if name == "device_utilisation":
        return times.reasons.get("ceiling", "the device's matrix ceiling was not measured")
    if name == "epoch_overhead":
        return "no whole run was measured"
    missing = {"computation_scaling": "alone", "input": "resident"}.get(name, "local")
    return times.reasons.get(missing, f"steps of the kind '{missing}' were not measured")


def _intervals(times: Times, seed: int = 0) -> dict:
    """95 % intervals of the factors by a bootstrap over steps; empty for too few of them."""
    if min(len(seconds) for seconds in times.steps.values()) < LEAST_STEPS:
        return {}
    random = np.random.default_rng(seed)
    # each kind's steps were taken at moments of their own: they are drawn apart
    places = {
        kind: random.integers(0, len(seconds), (DRAWS, len(seconds)))
        for kind, seconds in times.steps.items()
    }
    drawn = {
        level: np.median(x[places[kind]], axis=1) for level, (kind, x) in series(times).items()
    }
    values = factors_of(with_counted(times, drawn))
    edges = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    counted = "epoch_overhead"  # over the whole run
    return {n: np.quantile(v, edges).tolist() for n, v in values.items() if n != counted}


def _network(times: Times, found: dict, gradient_bytes: Optional[float]) -> dict:
    """What the all-reduce takes by itself, and how much of it hides behind computing."""
    ranks = times.steps["full"].shape[1]
    seen = {"hidden": None, "bus_bandwidth": None, "gradient_bytes": gradient_bytes}
    if "reduce" in times.steps and ranks > 1:
        alone = float(np.median(times.steps["reduce"].max(axis=1)))
        if "resident" in found and "slowest" in found:
            exposed = found["resident"] - found["slowest"]
            seen["hidden"] = float(np.clip(1 - exposed / alone, 0, 1))
        if gradient_bytes:
            seen["bus_bandwidth"] = 2 * (ranks - 1) / ranks * gradient_bytes / 1e9 / alone
    return seen


def slow_ranks(times: Times, hosts: list) -> list:
    """The ranks whose computing is slower than the others' beyond doubt, slowest first.

    Returns:
        rows {rank, hostname, slower: part of the other ranks' median time}.
    """
    local = times.steps.get("local")
    if local is None or local.shape[1] == 1:
        return []
    rows = []
    for rank in range(local.shape[1]):
        others = float(np.median(np.delete(local, rank, axis=1)))
        interval = median_interval(local[:, rank])
        if interval and interval[0] > others * (1 + STANDS_OUT):
            slower = float(np.median(local[:, rank])) / others - 1
            rows.append({"rank": rank, "hostname": hosts[rank], "slower": slower})
    return sorted(rows, key=lambda row: -row["slower"])


def losses(result: dict) -> list:
    """(factor, loss) of what is lost beyond doubt, the largest first; device utilisation apart."""
    named = []
    for name in CAUSES:
        factor = result["factors"][name]
        if factor["value"] is None or factor["loss"] < SMALLEST_LOSS:
            continue
        interval = factor["interval"]
        # the overhead is counted over the whole run, the others are sampled
        if name == "epoch_overhead" or (interval is not None and interval[1] < 1):
            named.append((name, factor["loss"]))
    return sorted(named, key=lambda pair: -pair[1])


def sentence(result: dict) -> str:
    """The tree in one sentence, the largest loss first."""
    count = result["ranks"]
    text = f"{count} rank{'s' if count > 1 else ''}: {result['efficiency']:.2f} of ideal"
    found = losses(result)
    parts = [f"{loss:.1%} {_cause(name, result)}" for name, loss in found]
    lost = sum(loss for _, loss in found)
    of_steps = [name for name in CAUSES if name != "epoch_overhead"]
    missing = [n for n in of_steps if result["factors"][n].get("reason") not in (None, ONE_RANK)]
    if lost > 1 - result["efficiency"] + DISTURBED:  # something else would have gained time
        text += (
            "; the machine changed its speed between the run and the experiment: what was lost to "
            "what is not certain"
        )
    elif parts:
        text += "; lost: " + ", ".join(parts)
    elif not missing:
        text += "; no loss stands out of the noise"
    if missing:
        reason = result["factors"][missing[0]]["reason"]
        text += f"; not measured: {', '.join(missing).replace('_', ' ')} ({reason})"
    utilisation = result["factors"]["device_utilisation"]["value"]
    if utilisation is not None:
        text += f"; a device computes at {utilisation:.2f} of its matrix ceiling"
    return text


def _cause(name: str, result: dict) -> str:
    if name == "load_balance" and result["slow_ranks"]:
        first = result["slow_ranks"][0]
        return f"to rank {first['rank']} on {first['hostname']}"
    if name == "communication" and result["bus_bandwidth"]:
        hidden = "" if result["hidden"] is None else f", {result['hidden']:.0%} hidden"
        return (
            f"to communication (all-reduce of {result['gradient_bytes'] / 1e6:.0f} MB at "
            f"{result['bus_bandwidth']:.2g} GB/s bus bandwidth{hidden})"
        )
    return f"to {CAUSES[name]}"
