"""For all tests of commands."""

import logging

import pytest


@pytest.fixture(autouse=True)
def level_put_back(caplog):
    """The command line lowers the level of the whole process's log; caplog puts it back after a test."""
    caplog.set_level(logging.INFO, logger="sae_utils")
