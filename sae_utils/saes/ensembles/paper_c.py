"""The dictionaries that paper C compares, several of each: single, bagged, boosted and expanded SAEs; and a control."""

from dataclasses import dataclass, replace
from pathlib import Path

from sae_utils.data.activations.source import ActivationSource
from sae_utils.errors import InputError
from sae_utils.saes.ensembles.boosting import boost
from sae_utils.saes.ensembles.ensemble import Ensemble
from sae_utils.saes.sae import SAE, SAEConfig
from sae_utils.saes.training.store import train_or_load
from sae_utils.saes.training.training import TrainingConfig


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
    if new.n_dictionaries < n:
        raise InputError(
            f"{n_ensembles} ensembles of {n_members} need {n} dictionaries, and there are {new.n_dictionaries}"
        )
    wide = replace(new.config, n_latents=n_members * new.config.n_latents)
    untrained, expanded = _like(new, new.config, n_ensembles), _like(new, wide, n_ensembles)
    single, expanded = train_or_load([new, expanded], source, config, folder)
    boosted = boost([single.dictionary(n_members * r) for r in range(n_ensembles)], n_members, source, config, folder)
    return Rivals(n_members, n_ensembles, single, boosted, expanded, untrained)


def train_total_l0(
    new: SAE, n_members: int, n_ensembles: int, source: ActivationSource, config: TrainingConfig, folder: Path
) -> SAE:
    """Expanded SAEs with the total L0 of an ensemble: as many latents and as many active ones as its members together.

    A control that is not in paper C. ``n_ensembles`` of them, on the tokens that a member sees, or read from
    ``folder``. Raises InputError for an architecture without k, whose L0 cannot be set.
    """
    if new.config.k is None:
        raise InputError(
            f"architecture {new.config.architecture} has no k, so its total L0 cannot be set; needed: topk"
        )
    wide = replace(new.config, n_latents=n_members * new.config.n_latents, k=n_members * new.config.k)
    return train_or_load([_like(new, wide, n_ensembles)], source, config, folder)[0]


def _like(new: SAE, config: SAEConfig, n: int) -> SAE:
    """Untrained SAEs of another form, from the first ``n`` seeds of ``new``, on its device."""
    return SAE.create(config, new.seeds[:n], new.hook_point, new.normalisation).to(new.W_dec)
