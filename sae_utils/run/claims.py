"""The page of all claims, ``claims.md``, made from the results of a batch."""

from collections.abc import Iterable
from pathlib import Path

from sae_utils.paths import FIGURES, PUBLISHED_PRESET, RESULTS
from sae_utils.report.claims.entries import CLAIMS, load_claims
from sae_utils.report.claims.page import claims_page
from sae_utils.results import read_results, write_text


def write_claims_page(notebooks: Path, folder: Path, done: Iterable[str]) -> Path | None:
    """Writes the page with the figures for the published preset, else into ``folder``, the preset's results.

    ``done`` names the notebooks whose results are read. Without a file of claims beside the notebooks there is no page.
    """
    path = notebooks / CLAIMS.name
    if not path.is_file():
        return None
    answers = {name: read_results(name, folder.name, folder.parent).verdicts for name in done}
    published = folder == RESULTS / PUBLISHED_PRESET
    page = claims_page(load_claims(path).values(), answers, folder.name)
    return write_text((FIGURES if published else folder) / "claims.md", page)
