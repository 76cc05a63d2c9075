"""Folders of the repository, found from this file (editable install), so that nothing depends on where one stands."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
NOTEBOOKS = ROOT / "notebooks"
PRESETS = NOTEBOOKS / "presets"
FIGURES = ROOT / "figures"
RESULTS = ROOT / "results"
MODELS = PACKAGE / "models"
PUBLISHED_PRESET = "laptop"  # the preset whose figures and page of claims are committed
