"""Every test of plots draws without a screen, in the one style."""

import pytest

from plots import figure


@pytest.fixture(autouse=True, scope="session")
def style():
    figure.use_style()
