"""From notebooks to batches: checked parameters, what a notebook will train, runs that resume.

``parameters``    what a notebook is told, and presets    ``plans``      what it trains
``costs``         what that takes                         ``cluster``    a whole preset on SLURM
``experiment``    what a notebook works on                ``notebooks``  the files, and what they say of themselves
``jobs``          a preset's notebooks, and which are done
``shares``        the cores or GPUs of each of several notebooks that run at once
``pages``         writes the page of claims, figures and executed notebooks after a batch
``made_by``       records what the published figures were made by

Commands: ``batch`` runs notebooks, ``train`` trains a shard of what they train, ``compare`` says what any dictionaries
share, ``store`` makes the tests' tiny copies of the notebooks, ``site`` makes pages to read offline, ``presets_page``
prints the table of presets.
"""
