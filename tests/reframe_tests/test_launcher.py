"""What cannot be run is said in one sentence, with exit code 2, before anything starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reframe_tests import references, sites

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "options, path, message",
    [
        (["--site", "nowhere"], None, "nowhere: no such site; expected one of jureca, juwels, local, virtual"),
        (["--site", "juwels"], "/nonexistent", "there is no `sbatch` on the PATH"),
    ],
)
def test_refusals(tmp_path, options, path, message):
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    command = [sys.executable, "-m", "reframe_tests", "--results", str(tmp_path), *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("text", ["", "site_configuration = {", "site_configuration = {'systems': [{'name': 'x', 'partitions': []}]}"])
def test_settings_that_cannot_be_used_are_refused(tmp_path, text):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(references.SuiteError, match="mine.py: not usable as a site's settings"):
        sites.system_of(str(tmp_path / "mine.py"))


@pytest.mark.parametrize(
    "host, site", [("jwlogin03", "juwels"), ("juwels", "juwels"), ("jrl07", "jureca"), ("laptop", "local"), ("jwc00n001.juwels", "juwels")]
)
def test_site_is_found_by_host_name(host, site):
    assert sites.detect([host]) == site
