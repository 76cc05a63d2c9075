"""What is drawn on axes, as numbers and words."""

import numpy as np


def rows_of(container, across=False):
    """Estimate, low and high of each bar of ``draw_intervals``; bars are upright or lie across."""
    side = 0 if across else 1
    (bars,) = container.lines[2]
    ends = np.array([segment[:, side] for segment in bars.get_segments()]).reshape(-1, 2)
    return np.column_stack([container.lines[0].get_xydata()[:, side], ends])


def assert_rows(containers, expected, across=False):
    """Each container shows the intervals of its rows."""
    for container, rows in zip(containers, expected, strict=True):
        np.testing.assert_allclose(rows_of(container, across), np.reshape(rows, (-1, 3)))


def by_label(ax):
    """Lines by their labels in the legend."""
    return {line.get_label(): line for line in ax.lines}


def marked(ax, marker):
    """The places of each line of these markers."""
    return [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == marker]


def words(texts):
    return [text.get_text() for text in texts]


def places(ax):
    """What each text is at, by its words."""
    return {text.get_text(): text.xy for text in ax.texts}


def tick_words(axis):
    return words(axis.get_ticklabels())


def band_edges(band):
    """Lowest and highest y of a band at each of its x."""
    vertices = band.get_paths()[0].vertices
    return {x: (vertices[vertices[:, 0] == x, 1].min(), vertices[vertices[:, 0] == x, 1].max()) for x in vertices[:, 0]}
