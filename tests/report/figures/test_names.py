"""Names stand beside what they name, and on nothing else."""

import numpy as np
import pytest
from helpers.drawn import places
from matplotlib.text import Text

from sae_utils.report.figures.names import name_ends, name_points


def boxes(ax):
    ax.figure.canvas.draw()
    return [Text.get_window_extent(text) for text in ax.texts]  # of the words alone


@pytest.mark.parametrize("apart", [0.0, 0.01, 0.3])
def test_no_name_lies_on_another_on_a_point_or_outside(ax, apart):
    points = {f"method {i}": (0.5 + apart * np.cos(i), 0.5 + apart * np.sin(i), "black") for i in range(8)}
    ax.set(xlim=(0, 1), ylim=(0, 1))
    name_points(ax, points)
    found = boxes(ax)
    assert not any(one.overlaps(other) for i, one in enumerate(found) for other in found[:i])
    spots = ax.transData.transform([point[:2] for point in points.values()])
    assert not any(box.contains(*spot) for box in found for spot in spots)
    assert all(ax.bbox.contains(*corner) for box in found for corner in box.corners())


def test_a_name_keeps_off_a_line_and_has_a_line_of_its_own_where_it_is_far(ax):
    ax.set(xlim=(0, 1), ylim=(0, 1))
    x = np.linspace(0, 1, 40)
    wall = [np.stack([x, np.full(40, y)], axis=1) for y in np.linspace(0.3, 0.7, 14)]  # as a thick line
    name_points(ax, {"inside": (0.5, 0.5, "black"), "at rest": (0.2, 0.1, "black")}, wall)
    ax.figure.canvas.draw()
    assert [text.arrow_patch.get_visible() for text in ax.texts] == [True, False]
    low, high = ax.transData.transform([(0, 0.3), (0, 0.7)])[:, 1]
    inside = boxes(ax)[0]
    assert inside.y0 > high or inside.y1 < low


def test_names_at_ends_keep_their_order_and_stand_apart(ax):
    ax.set(xlim=(0, 1), ylim=(0, 2))
    name_ends(ax, {"low": (1, 0.2, "black"), "top": (1, 2, "black"), "next": (1, 1.99, "black")}, 0.1)
    assert list(places(ax).items()) == [("top", (1, 2)), ("next", (1, 1.99)), ("low", (1, 0.2))]
    x, heights = zip(*(text.get_position() for text in ax.texts), strict=True)
    assert heights == pytest.approx([1.0, 0.9, 0.1]) and len(set(x)) == 1


def test_names_of_many_low_ends_stay_beside_the_axes(ax):
    ax.set(xlim=(0, 1), ylim=(0, 1))
    name_ends(ax, {f"curve {i}": (1, 0.01 * i, "black") for i in range(16)}, 0.05)
    assert [text.get_position()[1] for text in ax.texts] == pytest.approx([0.75 - 0.05 * i for i in range(16)])


def test_without_points_a_figure_is_drawn(ax):
    name_points(ax, {})
    assert boxes(ax) == []
