"""How often the site's alarms cry wolf, and what they find.

Run by `python -m reframe_tests.results.study`.

Simulates a site of 100 series over 200 nights for many kinds of noise, judged by the same functions
as `history`. An alarm is acknowledged as explained on the next morning and may come again. A second
table does the same for the bands of references, second measurements included.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import signal

from bigearth import cli

from . import alarms, calibration, cusum


@dataclass(frozen=True)
class Config:
    """Options of the study."""

    series: int = cli.option(100, "series of the site", least=1)
    nights: int = cli.option(200, "nights of a site without a change", least=90)
    repeats: int = cli.option(8, "simulated sites for each line of the table", least=1)
    seed: int = cli.option(1, "of the random numbers", least=0)
    noise: float = cli.option(0.01, "coefficient of variation", least=1e-6, most=0.2)


BAND_NIGHTS = 100  # judged with each set of bands
FROM = 60  # the nights that false alarms are counted from; those before are counted apart


def _autoregression(rng, shape, numerator, denominator) -> np.ndarray:
    white = rng.standard_normal((shape[0] + 200, shape[1]))
    made = signal.lfilter(numerator, denominator, white, axis=0)[200:]
    return made / math.sqrt(_variance(numerator, denominator))


def _variance(numerator, denominator) -> float:
    impulse = np.zeros(2000)
    impulse[0] = 1
    return float((signal.lfilter(numerator, denominator, impulse) ** 2).sum())


def _outliers(rng, shape) -> np.ndarray:
    """Normal noise, and in 5 % of the nights some 10 standard deviations on top, up or down."""
    far = rng.normal(10, 2, shape) * rng.choice([-1, 1], shape)
    return rng.standard_normal(shape) + far * (rng.random(shape) < 0.05)


def _bimodal(rng, shape) -> np.ndarray:
    """Two levels 3 standard deviations apart, the upper one in 30 % of the nights, each alone."""
    return 0.5 * rng.standard_normal(shape) + 1.5 * (rng.random(shape) < 0.3)


def _weekly(rng, shape) -> np.ndarray:
    """A cycle of seven nights with as much variance as the noise, another phase for each series."""
    phase = rng.integers(0, 7, shape[1])
    cycle = np.sin(2 * np.pi * (np.arange(shape[0])[:, None] + phase) / 7)
    return math.sqrt(0.5) * rng.standard_normal(shape) + cycle


def _bursty(rng, shape) -> np.ndarray:
    """Normal noise; on every 50th night begin 2 to 4 nights that are 3 standard deviations off."""
    begins, length = rng.random(shape) < 0.02, rng.integers(2, 5, shape)
    late = [np.pad(begins & (length > i), ((i, 0), (0, 0)))[: shape[0]] for i in range(4)]
    return rng.standard_normal(shape) + 3.0 * np.any(late, axis=0)


def _varying(rng, shape) -> np.ndarray:
    """Normal noise whose spread doubles and halves every 15 nights."""
    fortnight = np.arange(shape[0])[:, None] // 15 + rng.integers(0, 2, shape[1])
    return rng.standard_normal(shape) * np.where(fortnight % 2, 2.0, 1.0)


KINDS = {  # each of about unit spread, worse is up
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "Student's t, 3": lambda rng, shape: rng.standard_t(3, shape) / math.sqrt(3),
    "exponential": lambda rng, shape: rng.exponential(size=shape) - 1,
    "lognormal": lambda rng, shape: rng.lognormal(sigma=0.5, size=shape) / 0.604 - 1.876,
    "outliers": _outliers,
    "bimodal": _bimodal,
    "weekly cycle": _weekly,
    "AR(1) 0.5": lambda rng, shape: _autoregression(rng, shape, [1], denominator=[1, -0.5]),
    "AR(1) 0.8": lambda rng, shape: _autoregression(rng, shape, [1], denominator=[1, -0.8]),
    "ARMA 0.7, 0.3": lambda rng, shape: _autoregression(
        rng, shape, [1, 0.3], denominator=[1, -0.7]
    ),
    "varying spread": _varying,
    "bursts": _bursty,
}
# name -> (change in standard deviations of a normal night at `age` nights, nights it may take)
CHANGES = {
    "step of 5": (lambda age: 5.0 * (age >= 0), 7),
    "step of 3": (lambda age: 3.0 * (age >= 0), 7),
    "step of 2": (lambda age: 2.0 * (age >= 0), 30),
    "drift of 1 per month": (lambda age: np.maximum(age, 0) / 30, 90),
}


def false_alarms(values: np.ndarray, alarms_per_month: float) -> list:
    """The nights of all alarms of a site; each is acknowledged on the next morning.

    Args:
        values: (nights, series), worse is up, on a relative scale.
    """
    rate = alarms_per_month / 30
    said = [cusum.evidence(one) for one in values.T]
    kept = [np.arange(len(values)) for _ in said]  # nights of each series
    p = np.array([one.p for one in said]).T
    found = []
    for night in range(len(p)):
        if p[night].min() > rate:
            continue
        for i in np.flatnonzero(cusum.discoveries(p[night], rate)):
            found.append(night)
            since = kept[i][said[i].first[np.searchsorted(kept[i], night)]]
            kept[i] = kept[i][(kept[i] < since) | (kept[i] > night)]
            before = int((kept[i] <= night).sum())
            said[i] = cusum.evidence(values[kept[i], i], judged_from=before)
            p[night + 1 :, i] = said[i].p[before:]
    return found


def is_found(values: np.ndarray, begin: int, within: int, rate: float) -> bool:
    """Whether one series of a site is red at most `within` nights after the change began, if
    nothing else is wrong.

    Args:
        values: (nights,) of the series, worse is up.
        rate: false alarms per night of this series.
    """
    return bool((cusum.evidence(values[: begin + within]).p[begin:] <= rate).any())


def line(kind: str, config: Config) -> tuple:
    """(alarms per month before and from night 60, share of each change that is found)."""
    rng = np.random.default_rng([config.seed, list(KINDS).index(kind)])
    accepted = alarms.Site().alarms_per_month
    counts = []
    for _ in range(config.repeats):
        values = config.noise * KINDS[kind](rng, (config.nights, config.series))
        found = np.array(false_alarms(values, accepted))
        counts.append([np.sum(found < FROM), np.sum(found >= FROM)])
    judged = np.array([FROM - cusum.LEAST_RUNS, config.nights - FROM])
    monthly = 30 * np.mean(counts, axis=0) / judged
    power = []
    for shape, within in CHANGES.values():
        begins = rng.integers(FROM, 150, config.series)
        red = []
        for begin in begins:
            values = KINDS[kind](rng, (begin + within, 1))[:, 0]
            values = config.noise * (values + shape(np.arange(begin + within) - begin))
            red.append(is_found(values, begin, within, rate=accepted / 30 / config.series))
        power.append(np.mean(red))
    return monthly, power


def band_line(kind: str, runs: int, config: Config) -> tuple:
    """(red nights of 30 without a change, share of cells that are red in the same night when they
    are 5 standard deviations slower), with bands from some runs and second measurements."""
    rng = np.random.default_rng([config.seed, runs, list(KINDS).index(kind)])
    site = calibration.Site()
    red = np.empty((config.repeats, 2, BAND_NIGHTS, config.series), bool)
    for repeat in range(config.repeats):
        past = 1 + config.noise * KINDS[kind](rng, (runs, config.series))
        bands = calibration.calibrate(
            dict(enumerate(past.T)), lower_is_better=True, site=site
        ).values()
        again, edge = (np.array([getattr(one, name) for one in bands]) for name in ("again", "red"))
        for slower in (0, 1):
            # each night is a series of its own: the measurements of one night follow each other
            shape = (site.max_retries + 1, BAND_NIGHTS * config.series)
            noise = KINDS[kind](rng, shape).reshape(shape[0], BAND_NIGHTS, config.series)
            values = (1 + config.noise * noise) * (1 + 5 * config.noise * slower)
            red[repeat, slower] = (values > again).all(axis=0) & (values.mean(axis=0) > edge)
    return 30 * red[:, 0].any(axis=-1).mean(), red[:, 1].mean()


def run(config: Config) -> None:
    """Prints the tables."""
    print(
        f"{config.series} series, {config.nights} nights, {config.repeats} sites per line, noise "
        f"{config.noise:.1%}, seed {config.seed}: alarms per month without a change, and the share "
        "of changes (in standard deviations of a normal night) that are red within so many nights"
    )
    heads = [f"{name}, {within}" for name, (_, within) in CHANGES.items()]
    print("\n| noise | nights 21-60 | from 61 | " + " | ".join(heads) + " |")
    print("|:--" + "|--:" * (len(heads) + 2) + "|")
    for kind in KINDS:
        (early, late), power = line(kind, config)
        cells = [f"{early:.1f}", f"{late:.2f}", *(f"{100 * share:.0f} %" for share in power)]
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)
    print(
        f"\nBands of {config.series} cells: red nights of 30 without a change, and the share of "
        "cells that are red in the same night when 5 standard deviations slower\n"
    )
    print(
        "| noise | 10 runs: red nights | red when slower | 20 runs: red nights | red when slower |"
    )
    print("|:--|--:|--:|--:|--:|")
    for kind in KINDS:
        cells = []
        for runs in (10, 20):
            red, slower = band_line(kind, runs, config)
            cells += [f"{red:.2f}", f"{100 * slower:.1f} %"]
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    cli.main(
        Config,
        run,
        cli.Program(
            module="reframe_tests.results.study",
            description="Measure how often the alarms cry wolf and what they find.",
            example="--repeats 2",
        ),
    )
