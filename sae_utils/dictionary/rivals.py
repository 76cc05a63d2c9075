"""The dictionaries that paper C compares, several of each: single, bagged, boosted and expanded SAEs."""

from dataclasses import dataclass, replace
from pathlib import Path

from sae_utils.data.activations import ActivationSource
from sae_utils.data.errors import InputError
from sae_utils.dictionary.boosting import boost
from sae_utils.dictionary.ensemble import Ensemble
from sae_utils.dictionary.sae import SAE
from sae_utils.dictionary.trained import train_or_load
from sae_utils.dictionary.training import TrainingConfig


@dataclass(frozen=True)
class Rivals:
    """``n_ensembles`` of each kind, of ``n_members`` members or as wide as those together; no two share a member.

    Ensemble r has the members r * n_members and on of ``single`` (bagging), or begins with the first of them
    (boosting). ``untrained`` are single SAEs before their first step.
    """

    n_members: int
    n_ensembles: int
    single: SAE
    boosting: list[Ensemble]
    expanded: SAE
    untrained: SAE

    def dictionaries(self) -> dict[str, SAE | Ensemble]:
        """All but the bags, whose codes are those of their members side by side (``probing.bags``)."""
        boosted = {f"boosting {r}": ensemble for r, ensemble in enumerate(self.boosting)}
        return {"single": self.single, **boosted, "expanded": self.expanded, "untrained": self.untrained}


def train_rivals(
    new: SAE, n_members: int, n_ensembles: int, source: ActivationSource, config: TrainingConfig, folder: Path
) -> Rivals:
    """Train, or read from ``folder``, all that is compared; ``new`` are the untrained single SAEs.

    Every dictionary sees the activations that ``config`` says: the members of a bag or of a boosted ensemble, one after
    the other, n_members times as many in all as an expanded SAE. Expanded SAEs have the k or sparsity of a single one,
    as in the paper, so fewer active latents than an ensemble. Raises InputError for too few seeds.
    """
    n = n_members * n_ensembles
    if new.n_members < n:
        raise InputError(f"{n_ensembles} ensembles of {n_members} need {n} dictionaries, and there are {new.n_members}")
    wide = replace(new.config, n_latents=n_members * new.config.n_latents)
    seeds = new.seeds[:n_ensembles]
    untrained = SAE.create(new.config, seeds, new.hook_point, new.normalisation).to(new.W_dec)
    expanded = SAE.create(wide, seeds, new.hook_point, new.normalisation).to(new.W_dec)
    single, expanded = train_or_load([new, expanded], source, config, folder)
    boosted = boost([single.member(n_members * r) for r in range(n_ensembles)], n_members, source, config, folder)
    return Rivals(n_members, n_ensembles, single, boosted, expanded, untrained)
