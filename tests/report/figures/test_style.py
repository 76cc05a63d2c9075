import matplotlib.pyplot as plt
import pytest

from sae_utils import results
from sae_utils.report.figures import style as plots
from sae_utils.run.schemas import NOTEBOOKS


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
        ("00_language_model", {}, "pycode-2m"),
        (
            "01_seed_divergence",
            {"n_latents": 1152, "k": 32, "n_tokens": 800_000, "layer": 2},
            "pycode-2m · mlp_out, layer 2 · 1,152 latents · k 32 · 800,000 tokens · 5 seeds",
        ),
        ("01_seed_divergence", {"saes": ["one", "two"]}, "pycode-2m · mlp_out, layer 3 · 2 given SAEs"),
    ],
)
def test_a_footer_says_what_a_figure_is_of(notebook, values, footer):
    assert plots.footer_of(NOTEBOOKS[notebook](**values)) == footer


def test_a_notebooks_figure_is_saved_with_its_footer(style, tmp_path):
    fig = plt.figure()
    p = NOTEBOOKS["00_language_model"](results_dir=str(tmp_path))
    assert plots.save_figure(fig, "L9", p) == tmp_path / "tiny" / "figures" / "L9.png"
    assert fig.get_supxlabel() == "pycode-2m"
