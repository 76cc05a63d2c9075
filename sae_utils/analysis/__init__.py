"""Dictionaries to numbers: functions from tensors to small frozen dataclasses; nothing here draws.

Most are pure. What trains, runs a language model, or reads and writes files says so in its docstring: much of ``meta``,
parts of ``latents`` and ``concepts``.

``statistics``  every confidence interval       ``directions``  dictionaries that learned nothing, as nulls
``matching``    which latents two dictionaries share, one to one and by other criteria
``stitching``   latents of one dictionary put into another
``meta``        the decoder rows of a dictionary written as sums of a few meta-latents
``ensembles``   what several SAEs add up to, and how different they are
``concepts``    probes on latents, and what they pick up by accident
``latents``     when single latents fire, on what, and what they do
"""
