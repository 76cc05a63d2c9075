"""Numbers to figures: functions that draw arrays on axes they are given.

``style``            the style, the colours, ``save_figure``
``parts``            what many figures have in common: intervals, bands, legends, logarithmic axes
``names``            names beside points and at the ends of curves, in place of a legend
``questions``        the question over each figure, and notes below some
``language_model``   L1 to L5      ``overlap``    A1 to A6      ``sweeps``      A7 to A11, A18
``latents``          A12 to A14    ``stitching``  B1 to B7      ``meta``        B8 to B14
``ensembles``        C1 to C6      ``concepts``   C8 to C12     ``known_truth``  D1 to D7
``reproducible``     E1 to E3
``forest``           a paper's claims on the claims page
"""

from sae_utils.report.figures.parts import legend_above, log_axis
from sae_utils.report.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, save_figure, use_style

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "PINK", "legend_above", "log_axis", "save_figure", "use_style"]
