"""The site of a small repository: which pages there are, that all links lead somewhere, that nothing is fetched."""

import base64
import io
import re
from dataclasses import asdict

import nbformat
import pytest
from helpers.browser import Tab
from helpers.claims_made import claim, interval
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from sae_utils.report.claims import claims_page, hash_of_rules
from sae_utils.report.claims.verdicts import verdict
from sae_utils.run.site import drawn, main

README = """# What we ask

Do they agree, as [the papers](notebooks/PAPERS.md) say?

## Start

![Cosines](figures/A1.png)

*Figure A1. Each point
is a latent.*

More.
"""
FIRST = r"""# 00 A question of ours

[the next](01_next.ipynb), [claims](../figures/claims.md#paper), [a folder](../figures), [gone](../gone.md),
[all pages](../site/index.html),
[away](../../away.md), [paper](https://arxiv.org/abs/2501.16615), where $\hat x_0 = \Big(\sum_i z_i\Big)$ &c.
"""


def png():
    file = io.BytesIO()
    Image.new("RGB", (4, 3)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def write_notebook(path, *cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)


def executed(path, text, code="1 + 2"):
    """As papermill leaves it, with outputs of three kinds."""
    injected = new_code_cell("preset = 'laptop'", metadata={"tags": ["injected-parameters"]})
    outputs = [
        new_output("stream", name="stderr", text="a progress bar"),
        new_output("display_data", {"image/png": png()}),
        new_output("execute_result", {"text/html": "<table><tr><td>does not hold</td></tr></table>"}),
    ]
    write_notebook(path, new_markdown_cell(text), injected, new_code_cell(code, outputs=outputs))


def repository(root):
    """Two notebooks, both run with the preset ``laptop`` and, of them, one as it is with ``smollm2``."""
    texts = {"00_first": FIRST, "01_next": "# Another\n\nNo link."}
    for name, text in texts.items():
        write_notebook(root / f"notebooks/{name}.ipynb", new_markdown_cell(text), new_code_cell("1 + 2"))
        executed(root / f"results/laptop/{name}.ipynb", text)
        executed(root / f"figures/smollm2/{name}.ipynb", text, "1 + 2" if name == "00_first" else "1 + 3")
    answers = {"00_first": [asdict(verdict(claim(), interval(0.2, 0.3), rules=hash_of_rules([claim()])))]}
    for preset, folder, way in (("laptop", "figures", "../"), ("smollm2", "figures/smollm2", "../../")):
        (root / folder / "claims.md").write_text(claims_page([claim()], answers, preset, notebooks=f"{way}notebooks"))
        (root / folder / "explorer.html").write_text("<html data-ready><h1>Explorer</h1></html>")
    (root / "figures" / "papers_figures.md").write_text("# Theirs\n\n[A1](A1.png)\n")
    (root / "figures" / "A1.png").write_bytes(base64.b64decode(png()))
    (root / "notebooks" / "PAPERS.md").write_text("# Papers\n\n[Ours](../README.md)\n")
    (root / "README.md").write_text(README)
    return root


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = repository(tmp_path_factory.mktemp("site") / "a root")
    assert main(root) == 0
    return root / "site"


def test_the_site_is_what_the_first_page_leads_to(site, capsys):
    assert {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()} == {
        *("index.html", "README.html", "notebooks/PAPERS.html", "notebooks/00_first.html", "notebooks/01_next.html"),
        *("figures/A1.png", "figures/claims.html", "figures/papers_figures.html", "figures/explorer.html"),
        *("figures/smollm2/claims.html", "figures/smollm2/explorer.html", "figures/smollm2/00_first.html"),
    }
    (site / "old.html").touch()
    assert main(site.parent) == 0 and not (site / "old.html").exists()
    said = "figures/smollm2/01_next.ipynb is left out: its cells are not those of notebooks/01_next.ipynb"
    assert capsys.readouterr().out.splitlines() == [said, f"{site / 'index.html'} opens with a double click"]


def test_every_link_leads_to_a_file_and_nothing_is_fetched(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        links = re.findall(r'<(?:a|img)\b[^>]* (?:href|src)="(?!https:|data:|#)([^"#]*)', text)
        assert [link for link in links if not (page.parent / link).is_file()] == []
        assert "://" not in re.sub(r'<a href="https://[^"]*"', "", text)
        assert not re.search(r"<(script|link|iframe)\b|@import|\burl\(", text)


def test_the_first_page_has_question_answer_picture_and_titles(site):
    text = (site / "index.html").read_text()
    shown = [
        *("<title>What we ask</title>", "Do they agree, as", "<strong>Paper A</strong>, Paulo"),
        "<code>laptop</code>: of 1 claims 1 hold, 0 do not, 0 are undecided; <code>smollm2</code>: of 1 claims 1 hold",
        *('src="figures/A1.png"', "<em>Figure A1. Each point\nis a latent.</em>"),
        *('<a href="figures/claims.html">Claims: each', '<a href="figures/papers_figures.html">The papers'),
        '<a href="figures/explorer.html">',
        *('00 <a href="notebooks/00_first.html">A question of ours</a>', '01 <a href="notebooks/01_next.html">Another'),
        '00 <a href="figures/smollm2/00_first.html">A question of ours</a>',
    ]
    places = [text.find(part) for part in shown]
    assert places == sorted(places) and places[0] > 0
    assert "More." not in text and "01_next" not in text.split("smollm2/00_first")[1]


@pytest.mark.parametrize(("page", "way"), [("notebooks", "../"), ("figures/smollm2", "../../")])
def test_a_notebook_has_its_outputs_and_links_from_where_its_page_is(page, way, site):
    text = (site / page / "00_first.html").read_text()
    beside = "" if page == "notebooks" else f"{way}notebooks/"
    for link in (f'<a href="{beside}01_next.html">the next', f'<a href="{way}figures/claims.html#paper">claims'):
        assert link.replace("../../figures", "..") in text
    assert f'<a href="{way}index.html">all pages</a>' in text
    assert "<a>gone</a>" in text and "<a>a folder</a>" in text and "<a>away</a>" in text
    assert "preset" in text and 'src="data:image/png;base64,' in text and "progress bar" not in text
    assert '<a href="https://arxiv.org/abs/2501.16615">' in text
    assert r'<img alt="\hat x_0 = \Big(\sum_i z_i\Big)" class="math" src="data:' in text


def test_a_verdict_is_in_colour_beside_its_word(site):
    assert '<td class="holds">holds</td>' in (site / "figures" / "claims.html").read_text()


def test_a_formula_that_cannot_be_drawn_is_its_text():
    assert drawn("a < \\nosuch b\n + 1") == "<code>a &lt; \\nosuch b + 1</code>"


SPOILT = {
    "results/laptop/01_next.ipynb": (None, "results/laptop/01_next.ipynb: ./run_all.sh makes it"),
    "results/laptop/00_first.ipynb": ("{", "results/laptop/00_first.ipynb is not a notebook"),
    "notebooks/00_first.ipynb": ('{"cells": []}', "00_first.ipynb has other cells than notebooks/00_first.ipynb"),
    "figures/claims.md": (None, "figures/claims.md: ./run_all.sh makes it"),
}


@pytest.mark.parametrize("place", SPOILT)
def test_what_is_not_of_one_run_is_refused_in_one_line(place, tmp_path, capsys):
    root, (text, said) = repository(tmp_path), SPOILT[place]
    (root / place).unlink() if text is None else (root / place).write_text(text)
    assert main(root) == 2
    out = capsys.readouterr()
    assert said in out.err and out.err.count("\n") == 1 and not (root / "site").exists()


def test_it_opens_from_a_folder_without_a_network(site, browser):
    tab = Tab(browser, site / "index.html", folder=site)
    for link, heading in (("A question of ours", "00 A question of ours"), ("Claims", "What the papers claim, .*")):
        tab.page.locator("a", has_text=link).first.click()
        tab.wait_for_heading(heading)
        tab.page.wait_for_load_state()
        assert tab.page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    verdict = tab.page.locator("td.holds").first
    assert verdict.evaluate("(cell) => getComputedStyle(cell).color") == "rgb(0, 90, 140)"
    tab.page.locator("a", has_text="Start").click()
    tab.page.locator("a", has_text="Explorer").first.click()
    tab.wait_for_heading("Explorer")
    tab.close()
