"""Checkpoints of ensembles: all members and their weights in one file, as ``checkpoints`` writes it."""

from dataclasses import asdict
from pathlib import Path

from sae_utils.saes.ensembles.ensemble import Ensemble
from sae_utils.saes.sae import SAE, SAEConfig
from sae_utils.saes.training.checkpoints import read_tensors, write_tensors


def save_ensemble(ensemble: Ensemble, path: Path) -> None:
    """Write an ensemble with each member's config, seed and normalisation, and the weights."""
    about = {
        "configs": [asdict(member.config) for member in ensemble.members],
        "seeds": [member.seeds for member in ensemble.members],
        "hook_point": ensemble.hook_point,
        "sequential": ensemble.sequential,
    }
    tensors = {f"{j}.{name}": t for j, member in enumerate(ensemble.members) for name, t in member.state_dict().items()}
    write_tensors(Path(path), "ensemble", {**tensors, "weights": ensemble.weights}, about)


def load_ensemble(path: Path, device: str = "cpu") -> Ensemble:
    """The ensemble that ``save_ensemble`` wrote. Raises InputError as ``read_tensors`` does."""
    tensors, about = read_tensors(Path(path), "ensemble")
    members = []
    for j, (config, seeds) in enumerate(zip(about["configs"], about["seeds"], strict=True)):
        sae, start = SAE(SAEConfig(**config), seeds, about["hook_point"]), f"{j}."
        sae.load_state_dict({name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)})
        members.append(sae)
    return Ensemble(members, tensors["weights"].tolist(), about["sequential"]).to(device)
