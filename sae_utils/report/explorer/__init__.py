"""A page about every latent of a dictionary, in one HTML file that opens without a server or a network.

``document``   the file, from a results file's facts and arrays
``layout``     what the results must hold, and how the page gets them
``page/``      the page's template, style and scripts
"""

from sae_utils.report.explorer.document import Explorer, explorer

__all__ = ["Explorer", "explorer"]
