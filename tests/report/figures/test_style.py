import re

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from PIL import Image

from sae_utils import results
from sae_utils.paths import NOTEBOOKS as FOLDER
from sae_utils.report.figures import style as plots
from sae_utils.report.figures.questions import NOTES, QUESTIONS
from sae_utils.run.parameters.schemas import NOTEBOOKS


def test_a_saved_figure_is_repeatable_and_leaves_no_part(style, tmp_path, monkeypatch):
    fig = plt.figure()
    fig.add_subplot().plot([0, 1])
    first = plots.save(fig, "A9_line", "tiny", tmp_path).read_bytes()
    path = plots.save(fig, "A9_line", "tiny", tmp_path)
    assert path == tmp_path / "tiny" / "figures" / "A9_line.png"
    assert path.read_bytes() == first and b"Software" not in first
    assert [p.name for p in path.parent.iterdir()] == ["A9_line.png"]
    monkeypatch.setattr(results, "PUBLISHED", {"laptop": tmp_path / "figures"})
    assert plots.save(fig, "A9_line", "laptop").parent == tmp_path / "figures"


@pytest.mark.parametrize(
    ("notebook", "values", "footer"),
    [
        (
            "01_seed_divergence",
            {"n_latents": 1152, "k": 32, "n_tokens": 800_000, "layer": 2},
            "pycode-2m · mlp_out, layer 2 · 1,152 latents · k 32 · 800,000 tokens · 5 seeds",
        ),
        (
            "11_most_reproducible",
            {},
            "pycode-2m · mlp_out, layer 3 · 64 latents · 6,000 tokens · compared at L0 5 · 3 seeds",
        ),
        ("01_seed_divergence", {"saes": ["one", "two"]}, "pycode-2m · mlp_out, layer 3 · 2 given SAEs"),
    ],
)
def test_a_footer_says_what_a_figure_is_of(notebook, values, footer):
    assert plots.footer_of(NOTEBOOKS[notebook](**values)) == footer


def test_every_figure_of_a_notebook_has_a_question():
    called = re.compile(r'"([A-Z]\d+)_\w+", p\b')
    code = [cell.source for path in FOLDER.glob("*.ipynb") for cell in nbformat.read(path, 4).cells]
    assert set(called.findall("\n".join(code))) == set(QUESTIONS) > set(NOTES)
    assert all(words.endswith("?") for words in QUESTIONS.values())


def extents(fig, *parts):
    fig.draw_without_rendering()
    return [part.get_window_extent() for part in parts]


@pytest.fixture
def p(style, tmp_path):
    return NOTEBOOKS["00_language_model"](results_dir=str(tmp_path))


def test_a_figure_stands_under_its_question_and_keeps_its_own_title_and_legend(p, tmp_path):
    fig = plt.figure(figsize=(5.5, 3))
    fig.suptitle("AUC 0.9")
    ax = fig.add_subplot(title="panel")
    ax.plot([0, 1], label="line")
    legend = fig.legend(loc="outside upper left")
    assert plots.save_figure(fig, "A13_coefficients", p) == tmp_path / "tiny" / "figures" / "A13_coefficients.png"
    assert fig.get_supxlabel() == "pycode-2m"
    assert fig.get_suptitle() == f"{QUESTIONS['A13']}\nAUC 0.9" and fig.get_figheight() > 3
    title, entry, panel = extents(fig, fig._suptitle, legend.get_texts()[0], ax.title)
    assert title.x1 < fig.bbox.x1 and panel.y1 < entry.y0 and entry.y1 < title.y1


def test_a_long_footer_is_broken_between_its_parts_and_names_architectures(p):
    fig = plt.figure(figsize=(4, 3))
    plots.save_figure(fig, "C9", p, " · ".join(["one part of it", "k 4 (topk)", *["a third part"] * 5]))
    note, rest, *lines = fig.get_supxlabel().split("\n")
    assert f"{note} {rest}" == NOTES["C9"] and lines[0].endswith("\xa0·") and len(lines) == 2
    words = " · ".join(["one part of it", "k 4 (TopK)", *["a third part"] * 5])
    assert " ".join(lines).replace("\xa0", " ") == words
    (below,) = extents(fig, fig._supxlabel)
    assert below.x1 < fig.bbox.x1


def test_a_saved_picture_has_few_colours_and_looks_as_drawn(style, tmp_path):
    fig, ax = plt.subplots()
    ax.scatter(*np.random.default_rng(0).random((2, 300)), c=[plots.BLUE, plots.ORANGE, plots.GREEN] * 100, alpha=0.6)
    image = Image.open(plots.save(fig, "A9_points", "tiny", tmp_path, "a hash"))
    fig.savefig(tmp_path / "drawn.png")
    drawn = Image.open(tmp_path / "drawn.png")
    assert image.mode == "P" and image.size == drawn.size and image.info["Source"] == "a hash"
    assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    off = abs(np.asarray(image.convert("RGB"), int) - np.asarray(drawn.convert("RGB"), int)).max(axis=-1)
    assert off.max() < 60 and np.mean(off > 12) < 0.005
