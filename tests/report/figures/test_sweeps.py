"""What the figures of sweeps draw is what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers.drawn import rows_of, tick_words, words

from sae_utils.report.figures.sweeps import (
    ALONG,
    MEASURES,
    QUALITY,
    along,
    architectures,
    causes,
    doublings,
    layers_and_sites,
    of_sweep,
    row_names,
)

X = np.array([64, 128, 256])


def arrays(values=X):
    n = len(values)
    made = {"values": np.array(values), "l0": np.full((n, 3), 15.96), "dead": np.linspace(0, 0.3, 3 * n).reshape(n, 3)}
    made["explained_variance"] = np.full((n, 3), [0.7, 0.8, 0.9])
    for i, name in enumerate(MEASURES):
        middle = 0.2 * i + 0.1 * np.arange(n)
        made |= {name: np.stack([middle, middle - 0.05, middle + 0.1], 1), f"null_{name}": np.full(n, 0.01 * i)}
    return made


@pytest.fixture
def fig(style):
    return plt.figure(figsize=(10, 4))


def assert_in_rows(axes, a):
    """Every measure's intervals and, where there are some, its nulls, the first row on top."""
    for ax, name in zip(axes, MEASURES, strict=True):
        (container,) = ax.containers
        np.testing.assert_allclose(rows_of(container, across=True), a[name])
        assert container.lines[0].get_ydata().tolist() == list(range(len(a[name])))[::-1]
        nulls = [line for line in ax.lines if line.get_marker() == "|" and line not in container.lines[1]]
        np.testing.assert_array_equal([line.get_xdata() for line in nulls], [a[k] for k in [f"null_{name}"] if k in a])


def test_of_sweep_takes_its_arrays_alone():
    assert of_sweep({"k_values": X, "k_null_agree": X, "width_values": X}, "k").keys() == {"values", "null_agree"}


def test_each_measure_has_a_line_with_intervals_and_a_null_and_quality_a_point_for_each_seed(fig):
    a = arrays()
    along(fig, a, "latents")
    *measured, last = fig.axes
    for ax, name in zip(measured, ALONG, strict=True):
        (null,) = (line for line in ax.lines if line.get_linestyle() == ":")
        np.testing.assert_allclose(rows_of(ax.containers[0]), a[name])
        np.testing.assert_array_equal(null.get_ydata(), a[f"null_{name}"])
    means = [line.get_ydata() for line in last.lines if line.get_linestyle() == "-"]
    seeds = [line.get_ydata() for line in last.lines if line.get_linestyle() == "None"]
    np.testing.assert_allclose(means, [a[name].mean(1) for name in QUALITY])
    np.testing.assert_array_equal(seeds, [*a["explained_variance"].T, *a["dead"].T])


def test_a_tick_at_each_doubling(ax):
    doublings(ax, np.array([93_750, 1_500_000, 2_000_000]), "tokens")
    assert tick_words(ax.xaxis) == ["93.8k", "1.5M", "2M"]


def test_rows_say_l0_and_explained_variance_and_mark_a_wrong_l0():
    below = "\nL0 16.0, EV 0.80"
    assert row_names(arrays(["relu", "topk"]), wrong_l0=["topk"]) == [f"ReLU{below}", f"TopK*{below}"]
    assert row_names(arrays([3]), "layer ") == [f"layer 3{below}"]


def test_layers_stand_over_sites_measure_by_measure(fig):
    layers, sites = arrays([0, 3, 5]), arrays(["mlp_out", "resid_post"])
    layers_and_sites(fig, layers, sites)
    assert_in_rows(fig.axes[:4], layers)
    assert_in_rows(fig.axes[4:], sites)
    assert tick_words(fig.axes[0].yaxis) == row_names(layers, "layer ")
    assert tick_words(fig.axes[4].yaxis) == row_names(sites)


def test_architectures_have_all_measures_and_below_every_pair_both_ways(fig):
    a = arrays(["relu", "topk"])
    for name in ("shared_strict", "encoder_close"):
        a |= {f"pairs_raw_{name}": np.array([[0.0, 0.1, 0.7], [0.6, 0.5, 0.4]]), f"pairs_{name}": np.full((2, 3), 0.8)}
    architectures(fig, a, ["topk"], {"shared_strict": "shared", "encoder_close": "close rows"})
    *upper, left, right = fig.axes
    assert_in_rows(upper, a)
    assert tick_words(upper[0].yaxis) == row_names(a, wrong_l0=["topk"])
    assert "L0 is another than asked for" in words(fig.legends[0].get_texts())
    assert tick_words(left.yaxis) == ["ReLU", "TopK"]
    for ax, name in ((left, "shared_strict"), (right, "encoder_close")):
        pairs = [*a[f"pairs_{name}"].T, *a[f"pairs_raw_{name}"].T]
        np.testing.assert_array_equal([line.get_xdata() for line in ax.lines], pairs)
        heights = [line.get_ydata() for line in ax.lines]
        np.testing.assert_allclose(heights, np.repeat([[1.15, 0.15], [0.85, -0.15]], 3, 0))


def test_causes_have_a_row_each_the_first_on_top_with_a_point_for_each_pair(fig):
    rows, pairs = np.array([[0.8, 0.7, 0.9], [0.7, 0.6, 0.8]]), np.array([[0.75, 0.8, 0.85], [0.65, 0.7, 0.75]])
    a = {name: rows + 0.01 * i for i, name in enumerate(MEASURES)}
    causes(fig, a | {f"pairs_{name}": pairs + 0.01 * i for i, name in enumerate(MEASURES)}, ["order", "text"])
    assert_in_rows(fig.axes, a)
    for i, ax in enumerate(fig.axes):
        np.testing.assert_allclose([line.get_xdata() for line in ax.lines[:3]], pairs.T + 0.01 * i)
    assert tick_words(fig.axes[0].yaxis) == ["order", "text"]


def test_no_text_lies_on_other_text(fig):
    a = arrays(["jump_relu", "batch_topk", "gated", "relu"])
    for name in ("shared_strict", "encoder_close"):
        a |= {f"pairs_{kind}{name}": np.full((4, 3), 0.5) for kind in ("raw_", "")}
    architectures(fig, a, [], {"shared_strict": "shared, strict", "encoder_close": "close encoder rows"})
    fig.draw_without_rendering()
    boxes = [ax.title.get_window_extent() for ax in fig.axes if ax.get_title()]
    assert not any(one.overlaps(other) for one, other in zip(boxes, boxes[1:], strict=False))
    assert all(box.x1 <= fig.bbox.x1 for box in boxes)
