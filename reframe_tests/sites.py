"""Finds the site that this machine belongs to, and reads its settings without starting ReFrame."""

import importlib
import re
import runpy
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Optional

from bigearth.errors import InputError

FOLDER = Path(__file__).resolve().parent / "settings"
FALLBACK = "local"  # claims every host; any other site goes first


def names() -> list:
    return sorted(path.stem for path in FOLDER.glob("[a-z]*.py") if path.stem != "common")


def settings_path(site: str) -> Path:
    """The settings file of a site, which is given by its name or as the file itself."""
    return Path(site) if site.endswith(".py") else FOLDER / f"{site}.py"


def system_of(site: str) -> dict:
    """The site's entry of its ReFrame configuration.

    Raises:
        InputError: there is no such site, or its file cannot be used.
    """
    path = settings_path(site)
    if not path.is_file():
        raise InputError(
            f"{site}: no such site; expected one of {', '.join(names())}; add one "
            "with `bigearth-bench site add`"
        )
    try:
        if path.parent == FOLDER:
            configuration = importlib.import_module(
                f"{__package__}.settings.{path.stem}"
            ).site_configuration
        else:
            configuration = runpy.run_path(str(path))["site_configuration"]
        (system,) = configuration["systems"]
        if not system["partitions"]:
            raise ValueError("no partitions")
    except Exception as error:  # the file is a program of the user's
        raise InputError(
            f"{path}: not usable as a site's settings: {error!r}; see "
            "reframe_tests/settings/local.py"
        ) from error
    return system


def partitions(system: dict) -> dict:
    """name -> (features, extras) of each partition."""
    return {p["name"]: (p.get("features", []), p.get("extras", {})) for p in system["partitions"]}


def sinfo(columns: str) -> list:
    """What Slurm says of its partitions, a list of values for each line of `sinfo`.

    Args:
        columns: of sinfo's --format, separated by |.

    Raises:
        InputError: there is no Slurm here, or it does not answer.
    """
    if not shutil.which("sinfo"):
        raise InputError(
            "there is no `sinfo` on the PATH; run this on a login node of a machine "
            "with Slurm, or copy settings/local.py"
        )
    command = ["sinfo", "--noheader", f"--format={columns}"]
    try:
        text = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout
    except (subprocess.SubprocessError, OSError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise InputError(
            f"Slurm does not answer ({detail}); see that `sinfo` works here"
        ) from error
    return [line.split("|") for line in text.splitlines()]


def check_scheduler(system: dict) -> None:
    """Whether a site's jobs can be submitted from here.

    Raises:
        InputError: it needs Slurm and there is none, or one that does not answer or does not have a
            partition.
    """
    for partition in system["partitions"]:
        if partition["scheduler"] not in ("slurm", "squeue"):
            continue
        where = f"partition {partition['name']} of {system['name']}"
        if not shutil.which("sbatch"):
            raise InputError(
                f"{where} needs Slurm and there is no `sbatch` on the PATH; run on a login node, "
                "or choose another site with --site"
            )
        known = sorted({line[0] for line in sinfo("%R")})
        asked = [
            option.split("=", 1)[1]
            for option in partition.get("access", ())
            if option.startswith("--partition=")
        ]
        if not set(asked) <= set(known):
            raise InputError(
                f"{where}: its jobs ask for the partition {', '.join(asked)} and Slurm has only "
                f"{', '.join(known)}; correct the site's settings"
            )


def detect(hosts: Optional[list] = None) -> str:
    """The site that claims this host.

    Args:
        hosts: names of this host; found out if not given.

    Raises:
        InputError: two sites claim it.
    """
    hosts = hosts or [socket.gethostname(), socket.getfqdn()]
    claims = [
        site
        for site in names()
        if site != FALLBACK
        and any(
            re.match(pattern, host) for pattern in system_of(site)["hostnames"] for host in hosts
        )
    ]
    if len(claims) > 1:
        raise InputError(
            f"{hosts[0]}: claimed by the sites {' and '.join(claims)}; make their "
            "`hostnames` differ, or choose with --site"
        )
    return claims[0] if claims else FALLBACK
