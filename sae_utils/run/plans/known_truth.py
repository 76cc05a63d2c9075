"""What notebook 10 trains: dictionaries of many kinds of worlds, and paper C's ensembles on two of them."""

from dataclasses import replace
from functools import partial

from sae_utils.data.activations import ActivationSource
from sae_utils.data.synthetic import KINDS, WorldConfig
from sae_utils.run.parameters.known_truth import KnownTruthParameters
from sae_utils.saes import SAEConfig
from sae_utils.saes.ensembles.paper_c import boosted_cells
from sae_utils.saes.training import FIRST_GUESSES, TrainingConfig
from sae_utils.saes.training.grid import Activations, Cell

SPARSITY = {"relu": 2.0, "jump_relu": 1.0}  # coefficients
LONGER = 2  # times the tokens of the others: what those two need at the laptop's size until L0 and recall stand still
CLOSELY = ("independent", "hierarchy")  # kinds on which more than width is varied


def world_of(p: KnownTruthParameters, kind: str, **changes) -> WorldConfig:
    """The world of a kind, as the parameters say but for ``changes``."""
    return replace(WorldConfig(kind, p.n_dimensions, p.n_atoms, p.atom_l0, seed=p.world_seed), **changes)


def widths_of(p: KnownTruthParameters) -> list[int]:
    """Half as many latents as atoms, as many, twice as many."""
    return [p.n_atoms // 2, p.n_atoms, 2 * p.n_atoms]


def worlds_of(p: KnownTruthParameters) -> dict[str, WorldConfig]:
    """Every world of the notebook, by name."""
    worlds = [world_of(p, kind) for kind in KINDS]
    worlds += [world_of(p, "pairs", together=share) for share in p.togethers]
    for kind in CLOSELY:
        worlds += [world_of(p, kind, d=d) for d in p.other_dimensions]
        worlds += [many_atoms(p, kind)] if p.many_atoms else []
    return {world.name: world for world in worlds}


def many_atoms(p: KnownTruthParameters, kind: str) -> WorldConfig:
    """The larger world of a kind."""
    return world_of(p, kind, d=p.many_atoms // 4, n_atoms=p.many_atoms)


def world_cells(p: KnownTruthParameters) -> list[Cell]:
    """All dictionaries that are trained on worlds. Those of twice as many latents as atoms are the ones varied."""
    widths = widths_of(p)
    widest = widths[-1]
    cells = []
    for kind in KINDS:
        cells += [cell_of(p, world_of(p, kind), width) for width in widths]
    for kind in (*CLOSELY, "pairs"):
        cells += [cell_of(p, world_of(p, kind), widest, k=k) for k in p.world_ks]
    cells += [cell_of(p, world_of(p, "pairs", together=share), widest) for share in p.togethers]
    for kind in CLOSELY:
        world = world_of(p, kind)
        cells += [cell_of(p, world_of(p, kind, d=d), widest) for d in p.other_dimensions]
        cells.append(cell_of(p, world, widest, n_tokens=p.n_world_tokens // 4))
        cells += [cell_of(p, world, widest, architecture=name) for name in ("batch_topk", "relu", "jump_relu")]
        cells.append(cell_of(p, world, widths[0], architecture="relu"))
        if p.many_atoms:
            cells.append(cell_of(p, many_atoms(p, kind), 2 * p.many_atoms))
        cells += ensemble_cells(p, world)
    return cells


def cell_of(
    p: KnownTruthParameters,
    world: WorldConfig,
    width: int,
    k: int | None = None,
    architecture: str = "topk",
    n_tokens: int | None = None,
) -> Cell:
    """Dictionaries of one world; its name says all that differs between cells."""
    k = k or p.world_k
    n_tokens = n_tokens or p.n_world_tokens * (LONGER if architecture in SPARSITY else 1)
    if architecture in ("topk", "batch_topk"):
        sparsity, said = {"k": k}, f"k {k}"
    else:
        sparsity = FIRST_GUESSES[architecture] | {"sparsity": SPARSITY[architecture]}
        said = f"coefficient {SPARSITY[architecture]:g}"
    name = f"{world.name}: {architecture} {width}, {said}, {n_tokens} tokens"
    config = SAEConfig(world.d, width, architecture, **sparsity)
    reads = Activations((world.name,), p.n_world_tokens, "world")
    training = TrainingConfig(n_tokens, p.batch_size, p.data_seed, p.base_lr)
    return Cell(name, config, world.name, tuple(range(p.n_world_seeds)), training, reads)


def world_source(p: KnownTruthParameters, reads: Activations) -> ActivationSource:
    """What the dictionaries of one world, this notebook's or the eleventh's, are trained on."""
    (name,) = reads.hook_points
    worlds = worlds_of(p) if hasattr(p, "togethers") else {one.name: one for one in map(partial(world_of, p), CLOSELY)}
    return worlds[name].world().source(reads.n_tokens, seed=2 * p.world_seed)


def ensemble_cells(p: KnownTruthParameters, world: WorldConfig) -> list[Cell]:
    """Members of half as many latents as atoms, boosted ones, and a single and an expanded SAE of their total L0."""
    base = cell_of(p, world, p.n_atoms // 2, k=max(1, p.world_k // p.n_members))
    members = replace(base, name=f"{world.name}: members", seeds=tuple(range(p.n_members * p.n_ensembles)))
    total, seeds = p.n_members * base.config.k, members.seeds[: p.n_ensembles]
    single = replace(base, name=f"{world.name}: single", seeds=seeds, config=replace(base.config, k=total))
    wide = replace(single.config, n_latents=p.n_members * base.config.n_latents)
    expanded = replace(single, name=f"{world.name}: expanded", config=wide)
    boosted = [boosted_cells(members, p.n_members * r, p.n_members, boosting(world, r)) for r in range(p.n_ensembles)]
    return [members, single, expanded, *(cell for stages in boosted for cell in stages)]


def boosting(world: WorldConfig, r: int) -> str:
    """What the names of the later members of one boosted ensemble begin with."""
    return f"{world.name}: boosting {r}"
