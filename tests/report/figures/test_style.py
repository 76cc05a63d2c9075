import matplotlib.pyplot as plt

from sae_utils import results
from sae_utils.report.figures import style as plots


def test_save_figure_is_repeatable_and_leaves_no_part(style, tmp_path, monkeypatch):
    fig = plt.figure()
    fig.add_subplot().plot([0, 1])
    first = plots.save_figure(fig, "A9_line", "tiny", tmp_path).read_bytes()
    path = plots.save_figure(fig, "A9_line", "tiny", tmp_path)
    assert path == tmp_path / "tiny" / "figures" / "A9_line.png"
    assert path.read_bytes() == first and b"Software" not in first
    assert [p.name for p in path.parent.iterdir()] == ["A9_line.png"]
    monkeypatch.setattr(results, "PUBLISHED", {"laptop": tmp_path / "figures"})
    assert plots.save_figure(fig, "A9_line", "laptop").parent == tmp_path / "figures"
