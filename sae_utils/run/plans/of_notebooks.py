"""The plan of each notebook, from its parameters and a few facts of the language model, which is not loaded.

What depends on results is in a plan too, as a cell that waits for others with something left open; until it is settled
it stands there with an upper estimate.
"""

from collections.abc import Sequence
from dataclasses import replace

from sae_utils.analysis.matching.seed_parts import rows_of, stacks_needed
from sae_utils.analysis.meta.meta_sae import MetaTraining
from sae_utils.analysis.meta.nulls import COVARIANCE
from sae_utils.analysis.meta.study import DECODER, Sizes, saebench, study_counts
from sae_utils.data.models.language_model import LanguageModel
from sae_utils.data.models.names import row_context
from sae_utils.run.plans import reproducible as reproducible_plan
from sae_utils.run.plans.known_truth import world_cells
from sae_utils.run.plans.model_facts import ModelFacts
from sae_utils.run.plans.plan import Meta, Plan, Search, search_name
from sae_utils.saes import SAEConfig
from sae_utils.saes.ensembles.paper_c import rival_cells, total_l0_cell
from sae_utils.saes.training import FIRST_GUESSES, TrainingConfig
from sae_utils.saes.training.grid import Activations, Cell
from sae_utils.saes.training.optimisation import learning_rate

Model = LanguageModel | ModelFacts


def plan_of(notebook: str, p, model: Model) -> Plan:
    """The plan of a notebook with the parameters ``p``. With ``saes`` no dictionary is trained, meta-SAEs are."""
    context = row_context(p.context, model.context)
    plan = replace(_PLANS[notebook](p, model), context=context)
    if getattr(p, "saes", None) and not getattr(p, "methods", None):  # notebook 11 trains methods beside them
        return replace(plan, activations=(plan.held_out,), cells=(), search=None)
    return plan


def _source(p, model: Model, n_tokens: int) -> Activations:
    return Activations((model.hook_point(p.site, p.layer),), n_tokens)


def _held_out(p, model: Model) -> Activations:
    return replace(_source(p, model, p.n_eval_tokens), split="held_out")


def _cell(
    name: str, p, model: Model, reads: Activations, config: SAEConfig, n_seeds: int, n_tokens: int, batch_size: int
) -> Cell:
    """A stack of the first seeds."""
    training = TrainingConfig(n_tokens, batch_size, p.data_seed, p.base_lr)
    return Cell(name, config, model.hook_point(p.site, p.layer), tuple(range(n_seeds)), training, reads)


def _seeds(p, model: Model, source: Activations) -> Cell:
    """The dictionaries of notebook 01."""
    config = SAEConfig(model.d_model, p.n_latents, getattr(p, "architecture", "topk"), p.k)
    return _cell("seeds", p, model, source, config, p.n_seeds, p.n_tokens, p.batch_size)


def _language_model(p, model: Model) -> Plan:
    """Notebook 00: every held-out row once without the MLP of each layer, and three times as it is."""
    n_rows = p.n_eval_rows * row_context(p.context, model.context)
    text = ("held_out", n_rows), ("train", p.n_ngram_tokens)
    return Plan(text=text, forward_tokens=(model.n_layers + 3) * n_rows)


def _seed_divergence(p, model: Model) -> Plan:
    """Notebooks 01 and 08."""
    source = _source(p, model, p.n_tokens)
    return Plan((source, _held_out(p, model)), (_seeds(p, model, source),))


def _explorer(p, model: Model) -> Plan:
    """Notebook 09: the seeds of notebook 01, one smaller dictionary, and a meta-SAE of the first."""
    plan = _seed_divergence(p, model)
    seeds = plan["seeds"]
    smaller = replace(seeds, name="smaller", config=replace(seeds.config, n_latents=p.n_smaller), seeds=(0,))
    training = MetaTraining(batch_size=min(256, p.n_latents), device=p.device)
    sizes = Sizes(p.n_meta, p.meta_k)
    meta = _meta(model, training, sizes, {(p.n_meta, p.meta_k): 1})
    return replace(plan, cells=(seeds, smaller), meta=meta)


def _known_truth(p, model: Model) -> Plan:
    """Notebook 10: dictionaries of worlds, and the seeds of notebook 01."""
    plan = _seed_divergence(p, model)
    return replace(plan, cells=(*world_cells(p), *plan.cells))


def _most_reproducible(p, model: Model) -> Plan:
    """Notebook 11: every method on a model's activations and on worlds."""
    source = _source(p, model, max(p.n_source_tokens, p.n_tokens))
    cells = *reproducible_plan.model_cells(p, source, model.d_model), *reproducible_plan.world_cells(p)
    return Plan((source, _held_out(p, model)), cells)


def _sweeps(p, model: Model) -> Plan:
    """Notebook 02: cells are named by the property that differs from the centre and its value, such as ``width 64``."""
    source = _source(p, model, max(p.n_source_tokens, p.n_tokens))
    at = {f"layer {layer}": model.hook_point(p.site, layer) for layer in p.layers}
    at |= {f"site {site}": model.hook_point(site, p.layer) for site in p.sites}
    others = tuple(hook for hook in dict.fromkeys(at.values()) if hook not in source.hook_points)
    streamed = replace(source, hook_points=others, streamed=True)
    held_out = Activations((*source.hook_points, *others), p.n_eval_tokens, "held_out")
    centre = replace(_seeds(p, model, source), name="centre", snapshots=tuple(p.token_counts))
    cells = [centre]
    centre = replace(centre, snapshots=())
    cells += [replace(centre, name=f"width {n}", config=replace(centre.config, n_latents=n)) for n in p.widths]
    cells += [replace(centre, name=f"k {k}", config=replace(centre.config, k=k)) for k in p.ks]
    cells += [
        replace(centre, name=name, hook_point=hook, reads=streamed if hook in others else source)
        for name, hook in at.items()
    ]
    guesses = [_guess(model, p.architecture_width, a) for a in p.architectures if a in FIRST_GUESSES]
    for architecture in p.architectures:
        cell = replace(centre, name=f"architecture {architecture}")
        if architecture in FIRST_GUESSES:
            cell = _tuned(cell, _guess(model, p.architecture_width, architecture))
        else:
            cell = replace(cell, config=SAEConfig(model.d_model, p.architecture_width, architecture, p.architecture_k))
        cells.append(cell)
    search = Search(tuple(guesses), p.architecture_k, centre.hook_point, centre.training, source, held_out, 20_000)
    parts = _seed_parts(centre)
    texts = tuple(dict.fromkeys(cell.reads for cell in parts.values()))
    activations = (source, streamed, held_out) if others else (source, held_out)
    return Plan((*activations, *texts), (*cells, *parts.values()), search)


def _seed_parts(centre: Cell) -> dict[tuple[int, int], Cell]:
    """What a seed is made of, at the centre, by (order, text).

    A text is a sixth of the source; on as many tokens as a quarter of it has, it is read one and a half times.
    """
    training = replace(centre.training, n_tokens=min(centre.training.n_tokens, centre.reads.n_tokens // 4))
    return {
        (order, text): replace(
            centre,
            name=seed_part(order, text),
            seeds=seeds,
            training=replace(training, data_seed=training.data_seed + order),
            reads=replace(centre.reads, part=rows_of(text)),
        )
        for (order, text), seeds in stacks_needed().items()
    }


def seed_part(order: int, text: int) -> str:
    """The name of the cell of notebook 02 that reads this text in this order."""
    return f"order and text {order}.{text}"


def _guess(model: Model, n_latents: int, architecture: str) -> SAEConfig:
    return SAEConfig(model.d_model, n_latents, architecture, **FIRST_GUESSES[architecture])


def _tuned(cell: Cell, guess: SAEConfig) -> Cell:
    """The cell with a configuration whose coefficient a search settles."""
    return replace(cell, config=guess, needs=(search_name(guess),), open=("sparsity",))


def _family(p, model: Model, source: Activations, widths: Sequence[int]) -> list[Cell]:
    """TopK dictionaries of each width."""
    cells = []
    for n in widths:
        config = SAEConfig(model.d_model, n, "topk", p.k)
        cells.append(_cell(f"topk {n}", p, model, source, config, p.n_seeds, p.n_tokens, p.batch_size))
    return cells


def _relu_family(p, model: Model, source: Activations, held_out: Activations) -> tuple[list[Cell], Search]:
    """ReLU dictionaries of each width, paper B's, and the search for the coefficients that give each an L0 of k."""
    guesses = tuple(_guess(model, n, "relu") for n in p.widths)
    cells = [
        _tuned(_cell(f"relu {c.n_latents}", p, model, source, c, p.n_seeds, p.n_tokens, p.batch_size), c)
        for c in guesses
    ]
    search = Search(guesses, p.k, cells[0].hook_point, cells[0].training, source, held_out, 20_000)
    return cells, search


def _stitching(p, model: Model) -> Plan:
    """Notebook 03: ReLU and TopK of several widths, and ReLU at the latents and the L0 of half-built Frankensteins.

    How wide a Frankenstein is depends on what is novel; the widest of the family is taken for it.
    """
    source, held_out = _source(p, model, max(p.n_source_tokens, p.n_tokens)), _held_out(p, model)
    relu, search = _relu_family(p, model, source, held_out)
    waiting = {"needs": tuple(cell.name for cell in relu), "open": ("n_latents", "sparsity")}
    control = replace(relu[-1], name="control", **waiting)
    cells = (*relu, *_family(p, model, source, p.topk_widths), control)
    return Plan((source, held_out), cells, search)


def _meta_saes(p, model: Model) -> Plan:
    """Notebook 04: the ReLU family of notebook 03, TopK as wide as its widest, and meta-SAEs on the rows of both."""
    source, held_out = _source(p, model, max(p.n_source_tokens, p.n_tokens)), _held_out(p, model)
    relu, search = _relu_family(p, model, source, held_out)
    cells = (*relu, *_family(p, model, source, p.widths[-1:]))
    sizes = Sizes(p.n_meta, p.meta_k, tuple(p.meta_widths), tuple(p.meta_ks))
    training = MetaTraining(p.n_meta_steps, p.meta_batch_size, data_seed=p.data_seed, device=p.device)
    counts = study_counts(p.n_seeds, sizes)
    # TopK's and its null's; refits with its own rows, with those of a smaller width, and with three nulls.
    counts[p.n_meta, p.meta_k] += (2 + 5) * p.n_seeds
    meta = _meta(model, training, sizes, counts)
    bench_sizes, bench_training = saebench(p.widths[-1], p.n_bench_steps, training)
    bench = study_counts(p.n_seeds, bench_sizes, (DECODER, COVARIANCE))
    meta = replace(meta, cells=(*meta.cells, *_meta(model, bench_training, bench_sizes, bench).cells))
    return Plan((source, held_out), cells, search, meta)


def _meta(model: Model, training: MetaTraining, sizes: Sizes, counts: dict[tuple[int, int], int]) -> Meta:
    """Meta-SAEs, so many of each (meta-latents, k)."""
    rows = Activations(("decoder rows",), 0)
    cells = [
        Cell("meta-SAEs", SAEConfig(model.d_model, n, "batch_topk", k), *rows.hook_points,
             tuple(range(count)), training.config(), rows)
        for (n, k), count in counts.items()
    ]  # fmt: skip
    return Meta(training, sizes, tuple(cells))


def _singles(p, model: Model, source: Activations, architecture: str, n_latents: int, n_tokens: int) -> Cell:
    """The single SAEs that all ensembles are made of: n_members * n_ensembles of them.

    With ``one_rate``, theirs is the learning rate of all that is compared with them, however wide.
    """
    reads = replace(source, held=n_tokens) if n_tokens < source.n_tokens else source
    config = SAEConfig(model.d_model, n_latents, architecture, p.k)
    n_seeds = p.n_members * p.n_ensembles
    cell = _cell("single", p, model, reads, config, n_seeds, n_tokens, p.member_batch_size)
    rate = learning_rate(n_latents, p.base_lr) if p.one_rate else None
    return replace(cell, training=replace(cell.training, lr=rate))


def _ensembles(p, model: Model) -> Plan:
    """Notebook 05: paper C's dictionaries in three architectures, and for TopK single SAEs of the total L0."""
    source, held_out = _source(p, model, max(p.member_tokens, p.other_tokens)), _held_out(p, model)
    single = _singles(p, model, source, "topk", p.member_latents, p.member_tokens)
    total = replace(single.config, k=p.k * p.n_members)
    cells = _rivals_and_total_l0(single, p)
    cells.append(replace(single, name="single, total L0", config=total, seeds=single.seeds[: p.n_ensembles]))
    guesses = [_guess(model, p.other_latents, name) for name in ("relu", "jump_relu")]
    other = _singles(p, model, source, "topk", p.other_latents, p.other_tokens)
    for guess in guesses:
        one = _tuned(replace(other, name=f"{guess.architecture} single"), guess)
        cells += rival_cells(one, p.n_members, p.n_ensembles)
    search = Search(tuple(guesses), p.k, other.hook_point, other.training, other.reads, held_out, 5000)
    activations = dict.fromkeys((source, single.reads, other.reads, held_out))
    return Plan(tuple(activations), tuple(cells), search)


def _concepts(p, model: Model) -> Plan:
    """Notebooks 06 and 07: paper C's dictionaries in one architecture, and single SAEs whose decoder stays random."""
    source = _source(p, model, p.member_tokens)
    single = _singles(p, model, source, p.architecture, p.member_latents, p.member_tokens)
    frozen = replace(single, name="frozen decoder", seeds=single.seeds[: p.n_ensembles], fixed=("W_dec",))
    return Plan((source,), (*_rivals_and_total_l0(single, p), frozen))


def _rivals_and_total_l0(single: Cell, p) -> list[Cell]:
    shape = p.n_members, p.n_ensembles
    return [*rival_cells(single, *shape), total_l0_cell(single, *shape)]


_PLANS = {
    "00_language_model": _language_model,
    "01_seed_divergence": _seed_divergence,
    "02_what_moves_overlap": _sweeps,
    "03_stitching": _stitching,
    "04_meta_saes": _meta_saes,
    "05_bagging_and_boosting": _ensembles,
    "06_concept_detection": _concepts,
    "07_spurious_correlations": _concepts,
    "08_shared_and_orphan": _seed_divergence,
    "09_explorer": _explorer,
    "10_known_truth": _known_truth,
    "11_most_reproducible": _most_reproducible,
}
