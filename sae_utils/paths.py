"""Folders of the repository, found from this file (editable install), so that nothing depends on where one stands."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
NOTEBOOKS = ROOT / "notebooks"
PRESETS = NOTEBOOKS / "presets"
TINY_NOTEBOOKS = ROOT / "tests" / "notebooks"  # executed with the tiny preset
FIGURES = ROOT / "figures"
RESULTS = ROOT / "results"
MODELS = PACKAGE / "models"
PUBLISHED = {"laptop": FIGURES, "smollm2": FIGURES / "smollm2"}  # presets whose figures and pages are committed
REPLICATIONS = {"replication-1": "laptop", "replication-2": "laptop"}  # and on whose page their verdicts stand
OTHER_MODELS = {"smollm2": "laptop"}  # the same claims on another model, and on whose page they stand beside
