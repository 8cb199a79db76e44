"""Groups runs into series (one system, one experiment) and repetitions into mean and deviation."""

from reframe_tests.results.values import canonical, number

MOST_SERIES = 8  # what the palette can keep apart


def _difference(run, fields: dict) -> str:
    """The settings in which this run's series differs from others of its system, as text."""
    parts = [
        f"{name}={run.experiment[name]}"
        for name in fields
        if name in run.experiment and len(fields[name]) > 1
    ]
    return ", ".join(parts[:3]) + (", …" if len(parts) > 3 else "")


def series(runs: list) -> dict:
    """Splits runs into series.

    Returns:
        label -> runs. The label is the system and, where a system has several series, the settings
        in which they differ.
    """
    groups: dict = {}
    for run in runs:
        groups.setdefault(run.key, []).append(run)
    by_system: dict = {}
    for group in groups.values():
        by_system.setdefault(group[0].system, []).append(group)
    labelled: dict = {}
    for system, members in by_system.items():
        names = dict.fromkeys(name for group in members for name in group[0].experiment)
        fields = {
            name: {canonical(group[0].experiment.get(name)) for group in members} for name in names
        }
        for group in members:
            difference = _difference(group[0], fields)
            label = f"{system} ({difference})" if difference else system
            # the settings shown agree: it is others, or the data, that differ
            if label in labelled:
                label += (
                    ", data "
                    f"{str(group[0].provenance.get('dataset_digest')).replace('sha256:', '')[:8]}"
                )
            if label in labelled:
                label += f", series {len(labelled) + 1}"
            labelled[label] = group
    return labelled


def by_size(group: list) -> dict:
    """(nodes, devices) -> runs, ascending."""
    sizes: dict = {}
    for run in group:
        sizes.setdefault((run.nodes, run.devices), []).append(run)
    return dict(sorted(sizes.items()))


def _whole(value):
    """1 of 1.0, as other programs write it; what is neither a whole number nor text as text."""
    if type(value) in (int, str):
        return value
    return (
        int(value) if isinstance(value, float) and number(float(value)).is_integer() else str(value)
    )


def trainings(runs: list) -> list:
    """The runs that trained a model."""
    return [run for run in runs if run.workload == "train"]


def grouped(runs: list, table: str, by: str, wanted) -> dict:
    """The rows of one table of all runs, put together where column `by` agrees.

    Returns:
        value of `by` (what is neither a whole number nor text: as text) -> column of `wanted` ->
        its values over the runs, floats.
    """
    parts: dict = {}
    for run in runs:
        for row in run.table(table):
            columns = parts.setdefault(_whole(row.get(by)), {name: [] for name in wanted})
            for name in wanted:
                columns[name].append(number(row.get(name)))
    return parts


def shown(labels) -> tuple:
    """The labels that are drawn, and a note if the palette is too small for all of them."""
    labels = list(dict.fromkeys(labels))
    if len(labels) <= MOST_SERIES:
        return labels, []
    return labels[:MOST_SERIES], [
        f"{len(labels)} series were found; the first {MOST_SERIES} are "
        "drawn, all are in the data table."
    ]
