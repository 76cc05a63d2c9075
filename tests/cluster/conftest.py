"""A SLURM for the tests of this folder, which take minutes and change the machine: only where they are asked for."""

import importlib.util
import os

import pytest
from helpers.one_node_slurm import OneNode, install, is_there

ASKED = "SAE_UTILS_SLURM"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The node, while the tests run."""
    if ASKED not in os.environ:
        pytest.skip(f"{ASKED}=1 starts a SLURM here, as root, and installs Debian's where there is none")
    if not importlib.util.find_spec("submitit"):
        pytest.skip("submitit is not installed: pip install -e '.[cluster]' -c requirements.txt")
    if os.geteuid():
        pytest.skip("the daemons of SLURM want root")
    if not is_there():
        install()
    node = OneNode(tmp_path_factory.mktemp("slurm"))
    try:
        node.start()
        yield node
    finally:
        node.stop()
