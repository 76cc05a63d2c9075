"""How much memory a device and a disk have left, and how much a loaded language model takes."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from sae_utils.data.models.language_model import LanguageModel


def free_memory(device: str | torch.device) -> int | None:
    """Bytes that this process can still get on ``device``; None where that cannot be asked (mps)."""
    device = torch.device(device)
    if device.type == "cpu":
        return psutil.virtual_memory().available
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, and unused
        return torch.cuda.mem_get_info(device)[0] + held
    return None


def free_disk(folder: Path) -> int:
    """Bytes free where ``folder`` is or would be."""
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free


def weights_bytes(model: "LanguageModel") -> int:
    """Of a loaded model."""
    return sum(p.numel() * p.element_size() for p in model.weights.parameters())
