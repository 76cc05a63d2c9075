"""The list of the papers' figures: what it may say, that what it names is there, and the page that it becomes."""

import json
import re

import pytest

from sae_utils.errors import InputError
from sae_utils.paths import FIGURES, NOTEBOOKS
from sae_utils.report.paper_figures import PAGE, PaperFigure, load_paper_figures, paper_figures_page
from sae_utils.run.notebooks import read_cells, source


def test_every_figure_that_is_named_is_one_that_a_notebook_saves():
    cells = [cell for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb") for cell in read_cells(path)]
    code = "\n".join(source(cell) for cell in cells if cell["cell_type"] == "code")
    saved = {f"{name}.png" for name in re.findall(r'save_figure\(.*?"([A-Z]\d+_\w+)"', code)}
    assert {name for one in load_paper_figures() for name in one.ours} - {"explorer.html"} <= saved


def test_the_committed_page_is_of_the_list_and_its_links_lead_to_files():
    text = (FIGURES / PAGE).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https:)(.*?)\)", text)
    assert len(links) > 40 and [link for link in links if not (FIGURES / link).is_file()] == []
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    of_page = [(row[0], row[3] if len(row) > 3 else "") for row in rows if row[0] not in ("in the paper", "---")]
    assert of_page == [(one.what, one.why_not) for one in load_paper_figures()]


def test_a_figure_has_a_link_for_each_model_that_has_it(tmp_path):
    (tmp_path / "other").mkdir()
    for name in ("A1_x.png", "A2_y.png", "other/A2_y.png"):
        (tmp_path / name).touch()
    listed = [
        PaperFigure("A", "two seeds", ["A1_x.png", "A2_y.png"]),
        PaperFigure("A", "many | seeds", ["A1_x.png"], "the rest"),
        PaperFigure("C", "examples", why_not="no words"),
    ]
    page = paper_figures_page(listed, {"small": tmp_path, "large": tmp_path / "other"}, tmp_path)
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert lines == [
        "| in the paper | small | large | not shown, and why |",
        "| --- | --- | --- | --- |",
        "| two seeds | [A1](A1_x.png), [A2](A2_y.png) | [A2](other/A2_y.png) |  |",
        "| many \\| seeds | [A1](A1_x.png) | not run | the rest |",
        "| in the paper | small | large | not shown, and why |",
        "| --- | --- | --- | --- |",
        "| examples | none | none | no words |",
    ]
    assert "that we know of, 3; 2 have an answer here" in page and "## Paper C: " in page


REFUSED = {
    "unknown field 'why'; the fields are paper, what, ours, why_not": {"paper": "A", "what": "x", "why": "y"},
    "no field 'what'": {"paper": "A", "ours": ["A1_x.png"]},
    "'x' needs a paper; allowed: A, B, C": {"paper": "Z", "what": "x", "why_not": "y"},
    "'x' needs ours, names of figures, or why_not": {"paper": "A", "what": "x"},
}


@pytest.mark.parametrize(("said", "entry"), REFUSED.items())
def test_an_entry_that_says_nothing_is_refused(said, entry, tmp_path):
    path = tmp_path / "listed.yaml"
    path.write_text(json.dumps([entry]))
    with pytest.raises(InputError, match=re.escape(said)):
        load_paper_figures(path)
