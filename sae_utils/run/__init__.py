"""Notebooks to batches: checked parameters, what a notebook will train, runs that resume.

``parameters``    ``check``, which a notebook calls; ``schemas``: its parameters; ``rules``: what parameters share
``notebooks``     the notebook files and what they say of themselves; ``store`` makes their tiny copies anew
``presets``       files of parameters; ``presets_page``: their table in notebooks/presets/README.md
``jobs``          notebooks of a preset, and which are done; ``batch``: the command that runs them
``train``         shards of what a preset trains; ``slurm``: all of it on a cluster; ``cluster``: what its tasks get
``compare``       what any dictionaries share, on the command line
``pages``         the page of claims, and what goes with it; ``made_by``: what the published figures were made by
``plan``          what a notebook trains; ``plans``: that of each notebook; ``model_facts``: sizes of language models
``dry_run``       what a batch would run; ``cost``: what that takes; ``throughput``: how fast a machine is
"""
