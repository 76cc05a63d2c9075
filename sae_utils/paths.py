"""Folders of the repository, found from this file (editable install), so that nothing depends on where one stands."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
NOTEBOOKS = ROOT / "notebooks"
PRESETS = NOTEBOOKS / "presets"
FIGURES = ROOT / "figures"
RESULTS = ROOT / "results"
MODELS = PACKAGE / "models"
PUBLISHED = {"laptop": FIGURES}  # presets whose figures and pages are committed, and where
REPLICATIONS = {"replication-1": "laptop", "replication-2": "laptop"}  # and on whose page their verdicts stand
