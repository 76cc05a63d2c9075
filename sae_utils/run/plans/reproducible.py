"""What notebook 11 trains: every method at each sparsity of a small grid, and once on each of two worlds.

Whatever a method leaves open is as in TopK's row: width, data, order, tokens, learning rate, seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from sae_utils.analysis.stability import consensus_of
from sae_utils.data.activations import ActivationSource, Normalisation
from sae_utils.data.synthetic import WorldConfig
from sae_utils.run.parameters.reproducible import chosen_methods
from sae_utils.run.plans.known_truth import CLOSELY, LONGER, world_of
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.methods import Aligned, Archetypal, Matryoshka, Ordered, OrtSAE, WeightDecay
from sae_utils.saes.methods.archetypal import begin, rescale
from sae_utils.saes.training import FIRST_GUESSES, TrainingConfig
from sae_utils.saes.training.grid import Activations, Cell, train_cells

PENALTY = {"relu": 3.0, "jump_relu": 1.6, "gated": 4.0}  # coefficients that ``penalties`` multiply
WORLD_PENALTY = {"relu": 2.0, "jump_relu": 1.0, "gated": 2.4}  # on worlds; the first two are notebook 10's
LONG = "topk_longer"  # TopK that goes on from its own weights: as long as a consensus
# What a method is a change of; else TopK.
BASELINE = {"matryoshka": "batch_topk", "ortsae": "batch_topk", "consensus": LONG}
WIDTHS = (1, 3, 7, 15, 32)  # of Matryoshka's nested dictionaries, in 32nds of the latents: its paper's
DECAY = 1e-4  # weight decay's, times d_in: its paper's, in our units
POINTS = 8  # activations that k-means sees for each of its centroids
MEMBERS, IN_ONE = "members", 3  # dictionaries that one consensus is of: TopK's own and two more, which are no row
CONSENSUS = "consensus"


def config_of(method: str, d_in: int, n_latents: int, sparsity: float) -> SAEConfig:
    """A method's configuration; ``sparsity`` is k, or the coefficient of an architecture that has a penalty."""
    if method in PENALTY:
        return SAEConfig(d_in, n_latents, method, **FIRST_GUESSES[method] | {"sparsity": sparsity})
    size = {"d_in": d_in, "n_latents": n_latents, "k": int(sparsity)}
    match method:
        case "matryoshka":
            widths = tuple(sorted({max(1, n_latents * share // WIDTHS[-1]) for share in WIDTHS}))
            return Matryoshka(**size, architecture="batch_topk", widths=widths)
        case "ortsae":
            return OrtSAE(**size, architecture="batch_topk")
        case "aligned":
            return Aligned(**size)
        case "weight_decay":
            return WeightDecay(**size, decay=DECAY * d_in, unit_norm_decoder=False)
        case "ordered":
            return Ordered(**size)
        case "matryoshka_topk":
            return replace(config_of("matryoshka", d_in, n_latents, sparsity), architecture="topk")
        case "free_norms":
            return SAEConfig(**size, architecture="topk", unit_norm_decoder=False)
        case "archetypal" | "archetypal_own":
            return Archetypal(**size, n_points=n_latents, unit_norm_decoder=False, mixture_rate=1 / n_latents)
    return SAEConfig(**size, architecture="batch_topk" if method == "batch_topk" else "topk")


def sparsities_of(p, method: str) -> list[float]:
    """The grid of a method: numbers of active latents, or multiples of a coefficient."""
    return list(p.penalties if method in PENALTY else p.ks)


def name_of(method: str, sparsity: float) -> str:
    """The name of a method's cell at one point of its grid."""
    return f"{method} {sparsity:g}"


def model_cells(p, reads: Activations, d_in: int) -> list[Cell]:
    """The cells of all methods on a model's activations."""
    training = TrainingConfig(p.n_tokens, p.batch_size, p.data_seed, p.base_lr)
    cells = []
    for method in chosen_methods(p.methods):
        for sparsity in sparsities_of(p, method):
            config = config_of(method, d_in, p.n_latents, sparsity * PENALTY.get(method, 1))
            cells += _cells(p, method, partial(name_of, sparsity=sparsity), config, training, reads)
    return cells


def world_cells(p) -> list[Cell]:
    """The same on worlds, at as many active latents as there are active atoms, and twice as many latents as atoms."""
    cells = []
    for world in worlds_of(p).values():
        reads = Activations((world.name,), p.n_world_tokens, "world")
        for method in chosen_methods(p.methods):
            config = config_of(method, world.d, 2 * p.n_atoms, WORLD_PENALTY.get(method, round(p.atom_l0)))
            n_tokens = p.n_world_tokens * (LONGER if method in PENALTY else 1)
            training = TrainingConfig(n_tokens, p.batch_size, p.data_seed, p.base_lr)
            cells += _cells(p, method, partial(world_cell_name, world), config, training, reads)
    return cells


def worlds_of(p) -> dict[str, WorldConfig]:
    """The worlds by kind: independent atoms, and parents with children."""
    return {kind: world_of(p, kind) for kind in CLOSELY}


def world_cell_name(world: WorldConfig, method: str) -> str:
    """The name of a method's cell on a world."""
    return f"{world.name}: {method}"


def _cells(
    p, method: str, name: Callable[[str], str], config: SAEConfig, training: TrainingConfig, reads: Activations
) -> list[Cell]:
    """The cell of a method; before consensuses the rest of their members, of later seeds."""
    given = method in (CONSENSUS, LONG) or method.startswith("archetypal")
    cell = Cell(name(method), config, reads.hook_points[0], tuple(range(p.n_seeds)), training, reads, given=given)
    if method != CONSENSUS:
        return [cell]
    return [replace(cell, name=name(MEMBERS), seeds=tuple(range(p.n_seeds, IN_ONE * p.n_seeds)), given=False), cell]


def train_methods(
    cells: Sequence[Cell], sources: Mapping[Activations, ActivationSource], cache: Path, p
) -> tuple[dict[str, SAE], dict[str, SAE], dict[str, list[int]]]:
    """The trained stacks by name; the first weights of those that do not begin at their seeds' random ones; and how
    many latents of each consensus two members or more have.

    Archetypal dictionaries begin at centroids of activations, shared or of each seed's own k-means; a consensus at what
    its members have in common, and TopK that is trained longer at its own weights, so that both are trained last.
    """
    agreed: dict[str, list[int]] = {}
    begun, train = {}, partial(train_cells, sources=sources, folder=cache, device=p.device, progress=False)
    for cell in cells:
        if isinstance(cell.config, Archetypal):
            sae = SAE.create(cell.config, cell.seeds, cell.hook_point, _units(cell, sources))
            begin(sae, first_activations(cell, sources, p), shared="_own" not in cell.name)
            rescale(sae)
            begun[cell.name] = sae
    later = [cell for cell in cells if cell.given and cell.name not in begun]
    trained = train([cell for cell in cells if cell not in later], begun=begun)
    for cell in later:
        if LONG in cell.name:
            begun[cell.name] = trained[cell.name.replace(LONG, "topk")].copy().cpu()
            continue
        own, more = (trained[cell.name.replace(CONSENSUS, name)] for name in ("topk", MEMBERS))
        x = first_activations(cell, sources, p).to(p.device)
        found, agreed[cell.name] = consensus_of(own, more, x)
        begun[cell.name] = found.cpu()
    return train(later, trained=trained, begun=begun), begun, agreed


def first_activations(cell: Cell, sources: Mapping[Activations, ActivationSource], p) -> Float[Tensor, "n d_in"]:
    """The first that a cell trains on: as many as k-means needs, and a consensus is judged on."""
    source = sources[cell.reads]
    return next(source.batches(min(POINTS * cell.config.n_latents, source.n_tokens), p.data_seed))[cell.hook_point]


def _units(cell: Cell, sources: Mapping[Activations, ActivationSource]) -> Normalisation:
    return sources[cell.reads].normalisation[cell.hook_point]
