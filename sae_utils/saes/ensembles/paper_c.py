"""The dictionaries that paper C compares, several of each: single, bagged, boosted and expanded SAEs; and a control."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sae_utils.errors import InputError
from sae_utils.saes.ensembles.ensemble import Ensemble
from sae_utils.saes.sae import SAE
from sae_utils.saes.training.grid import Cell

SEED_STRIDE = 10_000  # member j of the ensemble that begins with seed s has seed s + 10,000 j


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

    @classmethod
    def of(cls, trained: Mapping[str, SAE], n_members: int, n_ensembles: int, kind: str = "") -> "Rivals":
        """All that is compared, once ``rival_cells`` are trained; ``kind`` is what the cells' names begin with."""
        single = trained[f"{kind}single"]
        boosting = [
            boosted_ensemble(trained, f"{kind}single", n_members * r, n_members, f"{kind}boosting {r}")
            for r in range(n_ensembles)
        ]
        untrained = SAE.create(single.config, single.seeds[:n_ensembles], single.hook_point, single.normalisation)
        return cls(n_members, n_ensembles, single, boosting, trained[f"{kind}expanded"], untrained.to(single.W_dec))

    def dictionaries(self) -> dict[str, SAE | Ensemble]:
        """All but the bags, whose codes are those of their members side by side (``probing.bags``)."""
        boosted = {f"boosting {r}": ensemble for r, ensemble in enumerate(self.boosting)}
        return {"single": self.single, **boosted, "expanded": self.expanded, "untrained": self.untrained}


def rival_cells(single: Cell, n_members: int, n_ensembles: int) -> list[Cell]:
    """``single``, whose name may end in "single" alone, the expanded SAEs, and the later members of each boosting.

    Every dictionary sees the activations that ``single`` sees: the members of a bag or of a boosted ensemble, one after
    the other, n_members times as many in all as an expanded SAE. Expanded SAEs have the k or sparsity of a single one,
    as in the paper, so fewer active latents than an ensemble. Raises InputError for too few seeds.
    """
    n = n_members * n_ensembles
    if len(single.seeds) < n:
        raise InputError(
            f"{n_ensembles} ensembles of {n_members} need {n} dictionaries, and there are {len(single.seeds)}"
        )
    kind = single.name.removesuffix("single")
    wide = replace(single.config, n_latents=n_members * single.config.n_latents)
    expanded = replace(single, name=f"{kind}expanded", config=wide, seeds=single.seeds[:n_ensembles])
    stages = [boosted_cells(single, n_members * r, n_members, f"{kind}boosting {r}") for r in range(n_ensembles)]
    return [single, expanded, *(cell for stage in stages for cell in stage)]


def boosted_cells(first: Cell, position: int, n_members: int, name: str) -> list[Cell]:
    """The later members ``name.1`` and on of a boosted ensemble that begins with one dictionary of ``first``.

    Each has the settings of the first, a seed of its own, and learns the residual of all before it.
    """
    cells: list[Cell] = []
    chain = ((first.name, position),)
    for j in range(1, n_members):
        seeds = (first.seeds[position] + SEED_STRIDE * j,)
        cells.append(replace(first, name=f"{name}.{j}", seeds=seeds, frozen=chain))
        chain = *chain, (cells[-1].name, 0)
    return cells


def total_l0_cell(single: Cell, n_members: int, n_ensembles: int) -> Cell:
    """Expanded SAEs with the total L0 of an ensemble: as many latents and as many active ones as its members together.

    A control that is not in paper C. Raises InputError for an architecture without k, whose L0 cannot be set.
    """
    if single.config.k is None:
        raise InputError(
            f"architecture {single.config.architecture} has no k, so its total L0 cannot be set; needed: topk"
        )
    config = replace(single.config, n_latents=n_members * single.config.n_latents, k=n_members * single.config.k)
    return replace(single, name="expanded, total L0", config=config, seeds=single.seeds[:n_ensembles])


def boosted_ensemble(trained: Mapping[str, SAE], first: str, position: int, n_members: int, name: str) -> Ensemble:
    """The ensemble of ``boosted_cells`` once they are trained."""
    later = [trained[f"{name}.{j}"] for j in range(1, n_members)]
    return Ensemble([trained[first].dictionary(position), *later], sequential=True)
