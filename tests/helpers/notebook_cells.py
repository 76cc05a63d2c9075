"""The code cells of a notebook in this process, without a Jupyter kernel: for tests with other parameters."""

from pathlib import Path

import matplotlib.pyplot as plt

from sae_utils.run.notebooks import read_cells, source
from sae_utils.run.parameters.presets import values_of


def run_cells(path: Path, parameters: dict) -> dict:
    """Run every code cell with the tiny preset's values and ``parameters``; gives what the cells define.

    An error has the cell in its traceback. What a kernel would show of a cell's last line is not shown.
    """
    namespace = {"__name__": "__main__"}
    with plt.rc_context():
        plt.switch_backend("agg")
        try:
            for number, cell in enumerate(read_cells(path)):
                if cell["cell_type"] != "code":
                    continue
                exec(compile(source(cell), f"{path.name}, cell {number}", "exec"), namespace)
                if "parameters" in cell["metadata"].get("tags", []):
                    unknown = parameters.keys() - namespace.keys()
                    assert not unknown, f"{path.name} has no parameters {sorted(unknown)}"
                    namespace.update(values_of("tiny", path.stem) | parameters)
                    namespace["In"] = ["# Parameters\n" + "\n".join(f"{name} = ..." for name in parameters)]
        finally:
            plt.close("all")
    return namespace
