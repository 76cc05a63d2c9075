"""What is drawn on axes, as numbers and words."""

import numpy as np


def interval_ends(container, across=False):
    """Low and high end of each bar of ``draw_intervals``; bars are upright or lie across."""
    (bars,) = container.lines[2]
    return np.array([segment[:, 0 if across else 1] for segment in bars.get_segments()])


def by_label(ax):
    """Lines by their labels in the legend."""
    return {line.get_label(): line for line in ax.lines}


def tick_words(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def band_edges(band):
    """Lowest and highest y of a band at each of its x."""
    vertices = band.get_paths()[0].vertices
    return {x: (vertices[vertices[:, 0] == x, 1].min(), vertices[vertices[:, 0] == x, 1].max()) for x in vertices[:, 0]}
