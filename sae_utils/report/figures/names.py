"""Names beside what they name, in place of a legend: in a column at the ends of curves, or wherever there is room."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.text import Annotation, Text

REACHES = (5, 10, 16, 24, 34, 46, 60, 76, 94, 114)  # gaps in points of type between a point and its name, as tried
CROWD = 50  # points of type: marks this near each other are a crowd
ON, ACROSS = 500, 25  # what a name on something costs, and a line across something, in points of distance
SIDES = np.radians([0, 180, 270, 90, 315, 45, 225, 135, *range(15, 360, 30)])
BEHIND = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5}  # a name is read over thin lines, too
LINE = {"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}  # from a name to what it names

Named = Mapping[str, tuple[float, float, str]]  # by name: x, y, colour
Boxes = Float[np.ndarray, "n 4"]  # left, bottom, right, top, in points of type


def name_ends(ax: Axes, ends: Named, least: float, size: float = 7) -> None:
    """The names of curves in a column right of the axes, ``least`` of their height apart, with a line to each end.

    Each is level with its end where there is room; the y axis is linear.
    """
    low, high = ax.get_ylim()
    ends = dict(sorted(ends.items(), key=lambda end: -end[1][1]))
    heights, last = [], 1.0 + least
    for _, y, _ in ends.values():
        last = min((y - low) / (high - low), last - least)
        heights.append(last)
    lowest = 0.0
    for i in reversed(range(len(heights))):  # none below the axes
        heights[i] = max(heights[i], lowest)
        lowest = heights[i] + least
    for (name, (x, y, colour)), at in zip(ends.items(), heights, strict=True):
        line = LINE | {"color": colour, "relpos": (0, 0.5)}
        look = {"color": colour, "fontsize": size, "va": "center", "arrowprops": line, "annotation_clip": False}
        ax.annotate(name, (x, y), (1.06, at), textcoords="axes fraction", **look)


def name_points(ax: Axes, points: Named, lines: Iterable[Float[np.ndarray, "n 2"]] = (), size: float = 7) -> None:
    """Each point's name beside it, with a thin line to its point where it is far off.

    Where possible it stands on no other name, point or line. Its place is found when the axes are drawn.
    """
    texts = []
    for name, (x, y, colour) in points.items():
        look = {"color": colour, "fontsize": size, "ha": "center", "va": "center", "textcoords": "offset points"}
        texts.append(ax.annotate(name, (x, y), (0, 0), bbox=BEHIND, arrowprops=LINE | {"color": colour}, **look))
        texts[-1].set_in_layout(False)
    if texts:
        ax.add_artist(_Places(texts, list(lines)))


class _Places(Artist):
    """Puts the names of points where there is room, before they are drawn; itself it draws nothing."""

    zorder = -1

    def __init__(self, texts: Sequence[Annotation], lines: Sequence[Float[np.ndarray, "n 2"]]) -> None:
        super().__init__()
        self._texts, self._lines = texts, lines
        self.set_in_layout(False)

    def draw(self, renderer: RendererBase) -> None:
        scale = 72 / self.axes.figure.dpi

        def at(places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
            return scale * self.axes.transData.transform(places)

        bounds = scale * self.axes.bbox.extents + [2, 2, -2, -2]
        spots = at(np.array([text.xy for text in self._texts], dtype=float))
        marks = [np.concatenate([spot - 3.5, spot + 3.5]) for spot in spots]
        lines = [box for line in self._lines for box in _along(at(np.asarray(line, dtype=float)))]
        near = (np.linalg.norm(spots[:, None] - spots, axis=-1) < CROWD).sum(axis=1)
        for i in np.lexsort((-spots[:, 1], -near)):  # where it is crowded first
            text, others = self._texts[i], np.array(marks[:i] + marks[i + 1 :]).reshape(-1, 4)
            half = scale * Text.get_window_extent(text, renderer).size / 2
            reach, away = _free_place(spots[i], half, np.array(marks + lines), others, bounds)
            middle = spots[i] + away
            marks.append(np.concatenate([middle - half, middle + half]))
            text.set_position(away)
            text.arrow_patch.set_visible(reach > REACHES[1])


def _along(path: Float[np.ndarray, "n 2"]) -> list[Float[np.ndarray, " 4"]]:
    """Small boxes along a line, a few points of type apart, and larger ones where its markers may be."""
    boxes = [np.concatenate([spot - 2.5, spot + 2.5]) for spot in path if np.isfinite(spot).all()]
    for start, end in zip(path, path[1:], strict=False):
        if np.isfinite([start, end]).all():
            for share in np.linspace(0, 1, 2 + int(min(np.hypot(*(end - start)), 2000) // 4)):
                spot = start + share * (end - start)
                boxes.append(np.concatenate([spot - 1, spot + 1]))
    return boxes


def _free_place(
    spot: Float[np.ndarray, " 2"],
    half: Float[np.ndarray, " 2"],
    taken: Boxes,
    others: Boxes,
    bounds: Float[np.ndarray, " 4"],
) -> tuple[float, Float[np.ndarray, " 2"]]:
    """How far from a spot, and where from it, the middle of a box goes: within bounds, on nothing taken, and near.

    Of places in bounds the cheapest: ``ON`` points for each taken box below it, ``ACROSS`` for each of the ``others``
    that a line to it crosses, and one for each point of its distance.
    """
    best = np.inf, REACHES[0], np.array([half[0] + REACHES[0], 0.0])
    for reach in REACHES:
        for side in SIDES:
            away = np.array([np.cos(side), np.sin(side)]) * (reach + half)
            low, high = spot + away - half, spot + away + half
            if (low > bounds[:2]).all() and (high < bounds[2:]).all():
                cost = reach + ON * ((taken[:, :2] < high) & (taken[:, 2:] > low)).all(axis=1).sum()
                if reach > REACHES[1]:
                    way = (spot + np.linspace(0.1, 1, 20)[:, None] * away)[:, None]
                    crossed = ((others[:, :2] < way) & (others[:, 2:] > way)).all(axis=-1).any(axis=0)
                    cost += ACROSS * crossed.sum()
                if cost < best[0]:
                    best = cost, reach, away
    return best[1:]
