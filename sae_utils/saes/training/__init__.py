"""Training of stacks of SAEs.

``training`` is the loop, ``trainer`` a step of one stack, ``recorded`` the same as a CUDA graph; ``optimisation`` is
around the optimiser, ``finite`` stops it; ``checkpoints`` are files; ``store`` keeps what was trained; ``grid`` trains
the cells of a plan; ``residuals`` are what boosted dictionaries learn from; ``sparsity`` finds the coefficient for a
wanted L0.
"""

from sae_utils.saes.training.checkpoints import load_sae, save_sae
from sae_utils.saes.training.grid import Activations, Cell, train_cells
from sae_utils.saes.training.residuals import HeldSource, PartSource, ResidualSource, hold
from sae_utils.saes.training.sparsity import FIRST_GUESSES, TOLERANCE, Tuned, tune_sparsity
from sae_utils.saes.training.store import train_or_load, train_or_load_history
from sae_utils.saes.training.trainer import StackTrainer, TrainingConfig, TrainingLog
from sae_utils.saes.training.training import Snapshots, train

__all__ = [
    "Activations",
    "Cell",
    "HeldSource",
    "PartSource",
    "ResidualSource",
    "hold",
    "train_cells",
    "FIRST_GUESSES",
    "TOLERANCE",
    "Snapshots",
    "StackTrainer",
    "TrainingConfig",
    "TrainingLog",
    "Tuned",
    "load_sae",
    "save_sae",
    "train",
    "train_or_load",
    "train_or_load_history",
    "tune_sparsity",
]
