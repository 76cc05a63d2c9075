"""Notebooks to batches: checked parameters, results on disk, runs that resume."""
