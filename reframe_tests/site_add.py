"""Writes the settings and the empty references of a new site: `bigearth-bench site add
--name SITE`, on its login node.

Asks Slurm for the partitions, their nodes and their devices. No test is touched: what a partition
says of itself decides which checks run on it. Then read both files: what Slurm does not know is
marked there.
"""

import importlib
import re
import socket
from dataclasses import dataclass
from typing import Optional

from bigearth import cli
from bigearth.errors import InputError

from . import references, sites

# what Slurm calls a device -> compute capability and memory (GB); NVIDIA's product pages
DEVICES = {
    "k80": ("sm_37", 12),
    "p100": ("sm_60", 16),
    "v100": ("sm_70", 16),
    "t4": ("sm_75", 16),
    "a100": ("sm_80", 40),
    "a40": ("sm_86", 48),
    "l40": ("sm_89", 48),
    "h100": ("sm_90", 80),
    "gh200": ("sm_90", 96),
    "h200": ("sm_90", 141),
}
TEMPLATE = '''"""{name}: written by `bigearth-bench site add`; see docs/adding-a-site.md for what to look at."""

from .common import LOGIN, configuration, slurm_partition

site_configuration = configuration(
    {{
        "name": "{name}",
        "descr": "{name}",
        "hostnames": [{hostnames}],
        "partitions": [
            LOGIN,
{partitions}
        ],
    }}
)
'''


def ask_slurm() -> list:
    """One dictionary a partition: name, nodes, sockets, cores_per_socket, memory_mb, gres,
    time_limit_s.

    Raises:
        InputError: there is no Slurm here, or it does not answer.
    """
    found = {}
    for line in sites.sinfo("%R|%D|%X|%Y|%m|%G|%l"):
        partition = parse(line)
        known = found.get(partition["name"])
        # of several kinds of node, the most frequent
        if known is None or partition["nodes"] > known["nodes"]:
            found[partition["name"]] = partition
    if not found:
        raise InputError("Slurm has no partition here; expected at least one; see `sinfo`")
    return list(found.values())


def parse(line: list) -> dict:
    """One line of `sinfo --format=%R|%D|%X|%Y|%m|%G|%l`."""
    name, nodes, sockets, cores, memory, gres, limit = line
    number = {"nodes": nodes, "sockets": sockets, "cores_per_socket": cores, "memory_mb": memory}
    sizes = {key: int(text.rstrip("+")) for key, text in number.items()}
    return {"name": name, **sizes, "gres": gres, "time_limit_s": seconds(limit)}


def seconds(limit: str) -> Optional[int]:
    """Slurm's [days-][[hours:]minutes:]seconds; None if there is no limit."""
    days, _, clock = limit.rpartition("-")
    if not re.fullmatch(r"[\d:]+", clock):
        return None
    total = 0
    for part in clock.split(":"):
        total = 60 * total + int(part)
    return total + 86400 * int(days or 0)


def device(gres: str) -> Optional[dict]:
    """The device of a node from its generic resources, e.g. "gpu:v100:4(S:0-1)"; None if it has
    none."""
    match = re.search(r"gpu(?::([A-Za-z][\w.-]*))?:(\d+)", gres)
    if not match:
        return None
    model = match.group(1) or "unknown"
    arch, memory = next(
        (
            facts
            for key, facts in sorted(DEVICES.items(), key=lambda d: -len(d[0]))
            if key in model.lower()
        ),
        ("FILL IN", 0),
    )
    return {
        "type": "gpu",
        "arch": arch,
        "model": model,
        "num_devices": int(match.group(2)),
        "memory_gb": memory,
    }


def settings(name: str, hostnames: list, partitions: list) -> str:
    """The text of the settings file."""
    lines = []
    for partition in partitions:
        card = device(partition["gres"])
        what = (
            f"{partition['nodes']} nodes, {partition['sockets']} x "
            f"{partition['cores_per_socket']} cores"
        )
        arguments = [
            repr(partition["name"]).replace("'", '"'),
            f'"{what}{", " + str(card["num_devices"]) + " x " + card["model"] if card else ""}"',
            *(f"{key}={partition[key]}" for key in ("nodes", "sockets", "cores_per_socket")),
        ]
        if card:
            arguments.append("device=" + repr(card).replace("'", '"'))
        arguments.append('network="any"')
        if partition["time_limit_s"]:
            arguments.append(f"max_time_s={partition['time_limit_s']}")
        lines += [
            " " * 12 + "slurm_partition(",
            *(" " * 16 + argument + "," for argument in arguments),
            " " * 12 + "),",
        ]
    return TEMPLATE.format(
        name=name,
        hostnames=", ".join(f'r"{host}"' for host in hostnames),
        partitions="\n".join(lines),
    )


@dataclass(frozen=True)
class SiteConfig:
    name: str = cli.option(cli.REQUIRED, "the site's name: lower-case letters, digits, underscore")
    hostnames: Optional[str] = cli.option(
        None, "pattern of the host names it claims (made of this host's name if not given)"
    )


PROGRAM = cli.Program(
    module="reframe_tests.site_add",
    command="bigearth-bench site add",
    description="Write the settings and the references of a new site from what its Slurm says.",
    example="--name mysite --hostnames 'login[0-9]+'",
    exit_codes="exit codes: 0 written; 2 it could not be",
)


def main(options: SiteConfig) -> None:
    hostnames = options.hostnames or re.sub("[0-9]+", "[0-9]+", re.escape(socket.gethostname()))
    if not re.fullmatch(r"[a-z][a-z0-9_]*", options.name):
        raise InputError(
            f"--name is {options.name!r}; expected lower-case letters, digits and "
            "underscores, a letter first; choose another"
        )
    files = [sites.settings_path(options.name), references.path_of(options.name)]
    for path in files:
        if path.exists():
            raise InputError(f"{path}: is there already; choose another --name, or edit it")
    files[0].write_text(settings(options.name, [hostnames], ask_slurm()))
    try:
        importlib.invalidate_caches()
        sites.detect()
        partitions = sites.partitions(sites.system_of(options.name))
        content = references.empty(options.name, partitions)
        files[1].write_text(
            references.dump(
                content,
                f"{options.name}: nothing has been measured yet; see docs/adding-a-site.md.",
            )
        )
        faults = references.lint(references.load(files[1]), partitions, options.name)
    except InputError:
        for path in files:
            path.unlink(missing_ok=True)
        raise
    for sentence in [
        *faults,
        *(
            f"{files[0]}: FILL IN the architecture of a device"
            for _ in [0]
            if "FILL IN" in files[0].read_text()
        ),
    ]:
        print(f"to do: {sentence}")
    print(
        f"written: {files[0]} and {files[1]}; next: bigearth-bench run --site "
        f"{options.name} --dry-run"
    )


if __name__ == "__main__":
    cli.main(SiteConfig, main, PROGRAM)
