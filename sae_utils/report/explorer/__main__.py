"""Makes the explorer from a folder of results: ``python -m sae_utils.report.explorer results/laptop``.

It goes to ``figures/explorer.html`` from the repository's own results/laptop, else to ``explorer.html`` in the folder.
"""

import argparse
import sys
from pathlib import Path

from sae_utils.errors import InputError
from sae_utils.files import write_text
from sae_utils.report.explorer.document import explorer
from sae_utils.results import read_results

NOTEBOOK = "09_explorer"


def main(arguments: list[str] | None = None) -> int:
    """Gives the exit code: 0, or 1 where the results cannot be explored."""
    parser = argparse.ArgumentParser(prog="python -m sae_utils.report.explorer", description=__doc__)
    parser.add_argument("results", type=Path, help="folder that holds 09_explorer.json and 09_explorer.npz")
    parser.add_argument("--to", type=Path, help="file to write, in place of explorer.html")
    asked = parser.parse_args(arguments)
    try:
        if not asked.results.is_dir():
            raise InputError(f"{asked.results} is not a folder of results, such as results/laptop")
        folder = asked.results.resolve()
        results = read_results(NOTEBOOK, folder.name, folder.parent)
        made = explorer(results.metrics, results.arrays)
        path = write_text(asked.to, made.html) if asked.to else made.save(folder.name, folder.parent)
    except (InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{made!r}, {path.stat().st_size / 1e6:.1f} MB: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
