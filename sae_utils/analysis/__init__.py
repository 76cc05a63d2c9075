"""SAEs to numbers: pure functions from tensors to small frozen dataclasses; no files, no plots."""
