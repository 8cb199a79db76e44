"""Every test of plots draws without a screen, in the one style."""

import pytest

from plots import figure
from tests.plots.browser import CHROMIUM, Browser


@pytest.fixture(autouse=True, scope="session")
def style():
    figure.use_style()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium; apt-get install chromium")
    with Browser(tmp_path_factory.mktemp("browser")) as one:
        yield one
