"""Text to activations.

- ``mixture``: the sources of a corpus and their weights
- ``text``: corpora, and rows of token ids made of them
- ``models``: language models
- ``activations``: what a model computes on rows, from a cache or live
- ``labelled``: texts and tokens with labels, for probes and properties
"""
