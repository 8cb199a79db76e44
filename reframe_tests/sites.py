"""Finds the site that this machine belongs to, and reads its settings without starting ReFrame."""

import importlib
import os
import re
import runpy
import shutil
import socket
from pathlib import Path
from typing import Optional

import yaml

from bigearth.errors import InputError, one_line

from . import partitions, slurm

FOLDER = Path(__file__).resolve().parent / "settings"
FALLBACK = "local"  # claims every host; any other site goes first


def names() -> list:
    return sorted(path.stem for path in FOLDER.glob("[a-z]*.py") if path.stem != "common")


def settings_path(site: str) -> Path:
    """The settings file of a site that is given by its name."""
    return FOLDER / f"{site}.py"


def files(site: str) -> list:
    """The configuration files of a site, given by its name, as a file of ReFrame's, or as several
    with colons between them, as in RFM_CONFIG_FILES.

    Raises:
        InputError: there is no such site or file.
    """
    given = [Path(part) for part in site.split(":") if part]
    if len(given) == 1 and re.fullmatch("[A-Za-z0-9_-]+", site):
        given = [settings_path(site)]
    for path in given:
        if not path.is_file():
            raise InputError(
                f"{one_line(site)}: no such site; expected one of {', '.join(names())}, or a "
                "ReFrame configuration file; add one with `bigearth-bench site add`"
            )
    return [path.absolute() for path in given]


def configuration(site: str) -> dict:
    """What the site's files say, sections of several files together.

    Raises:
        InputError: there is no such site, or a file cannot be used.
    """
    together = {"systems": [], "environments": []}
    for path in files(site):
        try:
            content = _read(path)
            for section in together:
                together[section] += content.get(section) or []
            for system in content.get("systems") or ():
                partitions.of_configuration(system["partitions"])
                for entry in system["partitions"]:
                    entry.setdefault("environs", [])
        except (Exception, SystemExit) as error:  # the file is a program of the user's
            raise InputError(
                f"{path}: not usable as a site's settings: {type(error).__name__}: "
                f"{one_line(error)}; see reframe_tests/settings/local.py"
            ) from error
    if not any(system["partitions"] for system in together["systems"]):
        raise InputError(
            f"{one_line(site)}: not usable as a site's settings: no system with partitions; see "
            "reframe_tests/settings/local.py"
        )
    return together


def _read(path: Path) -> dict:
    if path.suffix in (".json", ".yaml", ".yml"):
        return yaml.safe_load(path.read_text())
    if path.parent == FOLDER:
        module = importlib.import_module(f"{__package__}.settings.{path.stem}")
        return module.site_configuration
    return runpy.run_path(str(path))["site_configuration"]


def system_of(site: str, name: Optional[str] = None) -> dict:
    """The site's system: the one of that name, the only one, or the one that claims this host.

    Raises:
        InputError: there is no such site or system, or a file cannot be used.
    """
    systems = {system["name"]: system for system in configuration(site)["systems"]}
    if name:
        name = name.partition(":")[0]
        if name not in systems:
            raise InputError(
                f"--system {one_line(name)}: {one_line(site)} has no such system, only "
                f"{', '.join(systems)}"
            )
        return systems[name]
    if len(systems) == 1:
        return next(iter(systems.values()))
    claims = [system for system in systems.values() if _claims(system, _hosts())]
    if not claims:
        raise InputError(
            f"{one_line(site)}: has the systems {', '.join(systems)} and none claims this host; "
            "choose with --system"
        )
    return claims[0]


def _hosts() -> list:
    return [socket.gethostname(), socket.getfqdn()]


def _claims(system: dict, hosts: list) -> bool:
    patterns = system.get("hostnames") or ()
    try:
        return any(re.match(pattern, host) for pattern in patterns for host in hosts)
    except re.error as error:
        raise InputError(
            f"{system['name']}: its `hostnames` are no patterns ({one_line(error)}); correct them "
            "in the site's settings"
        ) from error


def check_scheduler(system: dict) -> None:
    """Whether a site's jobs can be submitted from here.

    Raises:
        InputError: it needs Slurm and there is none, one that does not answer or does not have a
            partition, or a partition that takes no jobs or no jobs of this length.
    """
    on_slurm = [p for p in system["partitions"] if p["scheduler"] in partitions.SLURM]
    if not on_slurm:
        return
    if not shutil.which("sbatch"):
        raise InputError(
            f"partition {on_slurm[0]['name']} of {system['name']} needs Slurm and there is no "
            "`sbatch` on the PATH; run on a login node, or choose another site with --site"
        )
    known = {found.name: found for found in slurm.parse_partitions(slurm.ask(slurm.SINFO))}
    described = partitions.of_configuration(system["partitions"])
    for partition in on_slurm:
        where = f"partition {partition['name']} of {system['name']}"
        longest = described[partition["name"]].longest
        for asked in _queues(partition):
            if asked not in known:
                raise InputError(
                    f"{where}: its jobs ask for the partition {asked} and Slurm has only "
                    f"{', '.join(sorted(known))}; correct the site's settings"
                )
            found = known[asked]
            if found.state != "up":
                raise InputError(
                    f"{where}: Slurm's partition {asked} is {found.state}; wait, or choose another "
                    f"with --system={system['name']}:NAME"
                )
            if found.time_limit and longest and longest > found.time_limit:
                raise InputError(
                    f"{where}: its jobs may ask for {longest} s and Slurm's partition {asked} "
                    f"allows {found.time_limit} s; correct `time_limit` or max_time_s in the "
                    "site's settings"
                )


def _queues(partition: dict) -> list:
    """Slurm's partitions that a partition's `access` names."""
    words = " ".join(partition.get("access") or ()).replace("=", " ").split()
    flags = ("--partition", "-p")
    return [name for flag, name in zip(words, words[1:]) if flag in flags]


def detect(hosts: Optional[list] = None) -> str:
    """The site that claims this host: the user's own ReFrame configuration if RFM_CONFIG_FILES
    names one, else one of settings/.

    Args:
        hosts: names of this host; found out if not given.

    Raises:
        InputError: two sites claim it, or none does and this is a login node of a cluster.
    """
    own = os.environ.get("RFM_CONFIG_FILES", "").strip(":")
    if own and hosts is None:
        return own
    given, hosts = hosts, hosts or _hosts()
    claims = [site for site in names() if site != FALLBACK and _claims(system_of(site), hosts)]
    if len(claims) > 1:
        raise InputError(
            f"{hosts[0]}: claimed by the sites {' and '.join(claims)}; make their "
            "`hostnames` differ, or choose with --site"
        )
    if not claims and given is None and shutil.which("sbatch"):
        raise InputError(
            f"{hosts[0]}: no site claims this host and `sbatch` is here: a login node is not to be "
            "trained on; make a site with `bigearth-bench site add`, or choose one with --site"
        )
    return claims[0] if claims else FALLBACK
