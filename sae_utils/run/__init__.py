"""Notebooks to batches: checked parameters, what a notebook will train, runs that resume.

``parameters``    what a notebook is told, and presets    ``plans``      what it trains
``costs``         what that takes                         ``cluster``    all of it on SLURM
``experiment``    what a notebook works on                ``notebooks``  the files and what they say of themselves
``jobs``          notebooks of a preset, and which are done; ``shares``: each one's part of the machine
``pages``         the page of claims, and what goes with it; ``made_by``: what the published figures were made by

Commands: ``batch`` runs notebooks, ``train`` a shard of what they train, ``compare`` says what any dictionaries share,
``store`` makes the notebooks' tiny copies anew, ``site`` pages to read offline, ``presets_page`` the table of presets.
"""
