"""Activations to SAEs: stacks of dictionaries, their training, their checkpoints, their metrics."""
