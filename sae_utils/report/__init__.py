"""Numbers to what one reads.

``figures``        arrays to figures
``claims``         the papers' claims, and verdicts on them
``latent_table``   latents with the text on which they fire, as a table in a notebook
``explorer``       every latent of a dictionary, in one HTML file
"""
