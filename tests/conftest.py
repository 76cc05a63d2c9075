"""Fixtures of all tests of figures: no window, the project's style, nothing left open."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest

from sae_utils.report import plots


@pytest.fixture
def style():
    """The project's style for the length of a test."""
    with plt.rc_context():
        plots.use_style()
        yield
        plt.close("all")


@pytest.fixture
def ax(style):
    """Axes of a figure of their own."""
    return plt.figure().add_subplot()
