"""Finds the site that this machine belongs to, and reads its settings without starting ReFrame."""

import importlib
import re
import runpy
import socket
from pathlib import Path
from typing import Optional

from .references import SuiteError

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
        SuiteError: there is no such site, or its file cannot be used.
    """
    path = settings_path(site)
    if not path.is_file():
        raise SuiteError(f"{site}: no such site; expected one of {', '.join(names())}; add one with `python -m reframe_tests.new_site`")
    try:
        if path.parent == FOLDER:
            configuration = importlib.import_module(f"{__package__}.settings.{path.stem}").site_configuration
        else:
            configuration = runpy.run_path(str(path))["site_configuration"]
        (system,) = configuration["systems"]
        if not system["partitions"]:
            raise ValueError("no partitions")
    except (ImportError, SyntaxError, NameError, KeyError, ValueError, TypeError) as error:
        raise SuiteError(f"{path}: not usable as a site's settings: {error!r}; see reframe_tests/settings/local.py") from error
    return system


def partitions(system: dict) -> dict:
    """name -> (features, extras) of each partition."""
    return {p["name"]: (p.get("features", []), p.get("extras", {})) for p in system["partitions"]}


def detect(hosts: Optional[list] = None) -> str:
    """The site that claims this host.

    Args:
        hosts: names of this host; found out if not given.

    Raises:
        SuiteError: two sites claim it.
    """
    hosts = hosts or [socket.gethostname(), socket.getfqdn()]
    claims = [
        site
        for site in names()
        if site != FALLBACK and any(re.match(pattern, host) for pattern in system_of(site)["hostnames"] for host in hosts)
    ]
    if len(claims) > 1:
        raise SuiteError(f"{hosts[0]}: claimed by the sites {' and '.join(claims)}; make their `hostnames` differ, or choose with --site")
    return claims[0] if claims else FALLBACK
