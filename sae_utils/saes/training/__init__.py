"""Training of stacks of SAEs.

``training`` is the loop, ``optimisation`` the steps around the optimiser; ``checkpoints`` are files; ``store`` keeps
what was trained; ``sparsity`` finds the coefficient for a wanted L0. ``grid``, whose cells may be members of ensembles,
is imported by its own name: ensembles rest on what is exported here.
"""

from sae_utils.saes.training.checkpoints import load_sae, save_sae
from sae_utils.saes.training.sparsity import FIRST_GUESSES, TOLERANCE, Tuned, tune_sparsity
from sae_utils.saes.training.store import train_or_load, train_or_load_history
from sae_utils.saes.training.training import Snapshots, StackTrainer, TrainingConfig, TrainingLog, train

__all__ = [
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
