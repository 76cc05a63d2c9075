"""What the figures of methods draw is what they are given."""

import matplotlib.pyplot as plt
import numpy as np
from helpers.drawn import by_label, places, rows_of, tick_words

from sae_utils.report.figures import reproducible as plots
from sae_utils.run.parameters.reproducible import METHODS


def row(strict, low, high, equal=0.2, **more):
    of = {"estimate": strict, "low": low, "high": high}
    return {"strict": of, "cosine": of, "strict, equal EV": equal, "cosine, equal EV": equal} | {
        "strict alone": strict, "cosine alone": strict, "explained_variance": 0.6, **more
    }  # fmt: skip


TABLE = {"topk": row(0.3, 0.2, 0.4), "ordered": row(None, None, None, None), "ortsae": row(0.5, 0.4, 0.6, None)}


def test_every_method_has_a_look_of_its_own():
    assert set(METHODS) < set(plots.LOOKS)
    assert len({look[:2] for look in plots.LOOKS.values()}) == len(plots.LOOKS)


def test_the_most_reproducible_is_on_top_and_what_is_not_known_last():
    assert plots.from_most_to_least(TABLE) == ["topk", "ortsae", "ordered"]  # OrtSAE's never explain as much
    ahead = {"ortsae": row(0.5, 0.4, 0.6, 0.1), "aligned": row(0.3, 0.2, 0.4, 0.3)}
    assert plots.from_most_to_least(TABLE | ahead) == ["aligned", "topk", "ortsae", "ordered"]


def test_a_row_has_intervals_hollow_points_price_and_truth(style):
    axes = plt.figure().subplots(1, 4)
    truth = {"independent": {"topk": {"recall": 0.9}}, "hierarchy": {}}
    plots.at_a_glance(axes, TABLE, truth, ["ortsae", "topk", "ordered"])
    assert tick_words(axes[0].yaxis) == ["OrtSAE", "TopK", "Ordered"]
    np.testing.assert_allclose(rows_of(axes[0].containers[0], across=True), [[0.5, 0.4, 0.6], [0.3, 0.2, 0.4]])
    hollow = by_label(axes[0])["at equal explained variance"]
    np.testing.assert_array_equal(hollow.get_xdata(), [np.nan, 0.2, np.nan])
    np.testing.assert_array_equal(by_label(axes[3])["independent"].get_xdata(), [np.nan, 0.9, np.nan])
    np.testing.assert_array_equal(axes[2].lines[0].get_xdata(), [0.6, 0.6, 0.6])


def test_a_frontier_goes_from_sparse_to_dense(ax):
    points = [{"l0": 16, "strict": 0.2}, {"l0": 4, "strict": 0.6}, {"l0": 8, "strict": 0.4}]
    plots.frontier(ax, {"relu": points}, "l0", "strict")
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[4, 0.6], [8, 0.4], [16, 0.2]])
    assert places(ax) == {"ReLU": (16, 0.2)}  # at the dense end
    other = ax.figure.add_subplot()
    plots.frontier(other, {"relu": points}, "strict", "strict")
    assert places(other) == {"ReLU": (0.6, 0.6)}  # at the sparse one


def test_a_scatter_has_a_point_for_each_method(ax):
    of_world = {"topk": {"strict": 0.4, "recall": 0.9}, "relu": {"strict": 0.1, "recall": 0, "L0": 12.4}}
    plots.stability_and_truth(ax, of_world, "recall", ["relu"])
    assert places(ax) == {"TopK": (0.4, 0.9), "ReLU, L0 12": (0.1, 0)}
    np.testing.assert_array_equal([line.get_xydata()[0] for line in ax.lines], list(places(ax).values()))
