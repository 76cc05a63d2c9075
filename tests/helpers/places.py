"""Where the tests are, for those that start a process which imports from them."""

import os
from pathlib import Path

TESTS = Path(__file__).parents[1]


def importing(*folders: Path) -> dict[str, str]:
    """The environment of a process that imports helpers, and modules of these folders."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [TESTS, *folders]))}
