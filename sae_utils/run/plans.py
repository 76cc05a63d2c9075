"""The plan of each notebook, from its parameters and a few facts of the language model, which is not loaded.

What depends on results is in a plan too, as a cell that waits for others with something left open; until it is settled
it stands there with an upper estimate.
"""

from collections.abc import Sequence
from dataclasses import replace

from sae_utils.analysis.matching.seed_parts import N_UNITS, stacks_needed
from sae_utils.analysis.meta.meta_sae import MetaTraining
from sae_utils.analysis.meta.study import Sizes, study_counts
from sae_utils.data.models.language_model import LanguageModel
from sae_utils.data.models.names import row_context
from sae_utils.run.known_truth_plan import world_cells
from sae_utils.run.model_facts import ModelFacts
from sae_utils.run.plan import Meta, Plan, Search, search_name
from sae_utils.saes import SAEConfig
from sae_utils.saes.ensembles.paper_c import boosted_cells, rival_cells, total_l0_cell
from sae_utils.saes.training import FIRST_GUESSES, TrainingConfig
from sae_utils.saes.training.grid import Activations, Cell

Model = LanguageModel | ModelFacts


def plan_of(notebook: str, p, model: Model) -> Plan:
    """The plan of a notebook with the parameters ``p``. With ``saes`` no dictionary is trained, meta-SAEs are."""
    context = row_context(p.context, model.context)
    plan = replace(_PLANS[notebook](p, model), context=context)
    if getattr(p, "saes", None):
        return replace(plan, activations=(plan.held_out,), cells=())
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
    """What a seed is made of, at the centre, by (order, text): each text is a part of the source, and is read once."""
    training = replace(centre.training, n_tokens=min(centre.training.n_tokens, centre.reads.n_tokens // N_UNITS))
    return {
        (order, text): replace(
            centre,
            name=seed_part(order, text),
            seeds=seeds,
            training=replace(training, data_seed=training.data_seed + order),
            reads=replace(centre.reads, part=(text, N_UNITS)),
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


def _family(p, model: Model, source: Activations) -> list[Cell]:
    """TopK dictionaries of each width."""
    cells = []
    for n in p.widths:
        config = SAEConfig(model.d_model, n, "topk", p.k)
        cells.append(_cell(f"topk {n}", p, model, source, config, p.n_seeds, p.n_tokens, p.batch_size))
    return cells


def _stitching(p, model: Model) -> Plan:
    """Notebook 03: TopK, BatchTopK and ReLU of each width, controls of half-built Frankensteins, and other seeds.

    How wide a Frankenstein is depends on what is novel; the widest of the family is taken for it.
    """
    source = _source(p, model, max(p.n_source_tokens, p.n_tokens))
    topk = _family(p, model, source)
    others = [
        replace(cell, name=f"{config.architecture} {n}", config=config, seeds=(i,))
        for i, (n, sparsity, cell) in enumerate(zip(p.widths, p.sparsities, topk, strict=True))
        for config in (
            SAEConfig(model.d_model, n, "batch_topk", p.k),
            SAEConfig(model.d_model, n, "relu", sparsity=sparsity),
        )
    ]
    waiting = {"needs": tuple(cell.name for cell in topk), "open": ("n_latents", "k")}
    controls = [
        replace(topk[-1], name=f"control {by} {s}", seeds=(s,), **waiting)
        for by in ("paper", "best here")
        for s in range(p.n_seeds)
    ]
    config = SAEConfig(model.d_model, p.n_latents, "topk", p.k)
    seeds = _cell("seeds", p, model, source, config, p.n_cross_seeds, source.n_tokens, p.batch_size)
    return Plan((source, _held_out(p, model)), (*topk, *others, *controls, seeds))


def _meta_saes(p, model: Model) -> Plan:
    """Notebook 04: the TopK family, and meta-SAEs on the rows of its widest."""
    source = _source(p, model, max(p.n_source_tokens, p.n_tokens))
    sizes = Sizes(p.n_meta, p.meta_k, tuple(p.meta_widths), tuple(p.meta_ks))
    training = MetaTraining(p.n_meta_steps, p.meta_batch_size, data_seed=p.data_seed, device=p.device)
    counts = study_counts(p.n_seeds, sizes)
    # Refits with the rows of each smaller width, of two nulls and its own; and one on the rows of all widths.
    counts[p.n_meta, p.meta_k] += (len(p.widths) + 2 + 1) * p.n_seeds
    meta = _meta(model, training, sizes, counts)
    return Plan((source, _held_out(p, model)), tuple(_family(p, model, source)), meta=meta)


def _meta(model: Model, training: MetaTraining, sizes: Sizes, counts: dict[tuple[int, int], int]) -> Meta:
    """Meta-SAEs, so many of each (meta-latents, k)."""
    rows = Activations(("decoder rows",), 0)
    cells = [
        Cell("meta-SAEs", SAEConfig(model.d_model, n, "batch_topk", k), *rows.hook_points,
             tuple(range(count)), training.config(), rows)
        for (n, k), count in counts.items()
    ]  # fmt: skip
    return Meta(training, sizes, tuple(cells))


def _singles(p, model: Model, source: Activations, architecture: str, n_latents: int) -> Cell:
    """The single SAEs that all ensembles are made of: n_members * n_ensembles of them."""
    reads = replace(source, held=p.member_tokens)
    config = SAEConfig(model.d_model, n_latents, architecture, p.k)
    n_seeds = p.n_members * p.n_ensembles
    return _cell("single", p, model, reads, config, n_seeds, p.member_tokens, p.member_batch_size)


def _ensembles(p, model: Model) -> Plan:
    """Notebook 05: paper C's dictionaries in three architectures, controls, notebook 01's, and consensus of those."""
    source, held_out = _source(p, model, p.n_tokens), _held_out(p, model)
    single = _singles(p, model, source, "topk", p.member_latents)
    shape = p.n_members, p.n_ensembles
    cells = rival_cells(single, *shape)
    guesses = [_guess(model, p.other_latents, name) for name in ("relu", "jump_relu")]
    for guess in guesses:
        cells += rival_cells(_tuned(replace(single, name=f"{guess.architecture} single"), guess), *shape)
    control = replace(single, seeds=single.seeds[: p.n_ensembles])
    cells += [
        replace(control, name=f"single, total L0 {n}", config=replace(control.config, k=p.k * n))
        for n in sizes_of_bags(p.n_members)
    ]
    longer = replace(single.training, n_tokens=p.n_members * p.member_tokens)
    cells.append(replace(control, name="J times the tokens", training=longer, reads=source))
    seeds = _seeds(p, model, source)
    cells += [total_l0_cell(single, *shape), seeds]
    for h in range(2):
        cells += _consensus(single, seeds, h)
    search = Search(tuple(guesses), p.k, single.hook_point, single.training, single.reads, held_out, 5000)
    return Plan((source, single.reads, held_out), tuple(cells), search)


def sizes_of_bags(n_members: int) -> list[int]:
    """The powers of two below ``n_members``, from 2, and ``n_members``."""
    return sorted({*(2**i for i in range(1, n_members.bit_length()) if 2**i < n_members), n_members})


MERGED = ("consensus", "one version", "random latents")  # what a dictionary of notebook 05 is merged from


def _consensus(single: Cell, seeds: Cell, h: int) -> list[Cell]:
    """Refits of what one half of the seeds agree on, and fresh SAEs as wide; at most as wide as one of the seeds."""
    base = replace(single, config=seeds.config, seeds=(h,), needs=("seeds",), open=("n_latents",))
    refits = [
        replace(base, name=f"{kind}, {what} refitted {h}", given=True, fixed=fixed)
        for kind in MERGED
        for what, fixed in (("encoder", ("W_dec",)), ("all", ()))
    ]
    fresh = replace(base, name=f"fresh single SAE {h}")
    half = replace(base.config, k=base.config.k // 2)
    couple = replace(base, name=f"fresh bag of two {h}", config=half, seeds=(h, h + 2))
    longer = replace(fresh, name=f"fresh single SAE, the seeds' tokens {h}", training=seeds.training, reads=seeds.reads)
    return [*refits, fresh, couple, *boosted_cells(couple, 0, 2, f"fresh boosting of two {h}"), longer]


def with_consensus(plan: Plan, n_groups: Sequence[int]) -> Plan:
    """The plan of notebook 05 once it is known how many latents each half of the seeds agrees on."""
    widths = {}
    for half, n in enumerate(n_groups):
        for cell in _consensus(plan["single"], plan["seeds"], half):
            widths[cell.name] = {"n_latents": n // 2 if " of two " in cell.name else n}
    return plan.settled(widths)


def _concepts(p, model: Model) -> Plan:
    """Notebook 06: paper C's dictionaries in one architecture, notebook 01's, and the consensus of each half."""
    source = _source(p, model, p.n_tokens)
    single = _singles(p, model, source, p.architecture, p.member_latents)
    seeds = _seeds(p, model, source)
    cells = _rivals_and_total_l0(single, p)
    cells += [
        replace(single, name=f"consensus {h}", config=seeds.config, seeds=(h * (p.n_seeds // 2),), given=True,
                fixed=("W_dec",), needs=("seeds",), open=("n_latents",))
        for h in range(2)
    ]  # fmt: skip
    return Plan((source, single.reads), (*cells, seeds))


def _correlations(p, model: Model) -> Plan:
    """Notebook 07: paper C's dictionaries in one architecture."""
    source = _source(p, model, max(p.n_source_tokens, p.member_tokens))
    single = _singles(p, model, source, p.architecture, p.member_latents)
    return Plan((source, single.reads), tuple(_rivals_and_total_l0(single, p)))


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
    "07_spurious_correlations": _correlations,
    "08_shared_and_orphan": _seed_divergence,
    "09_explorer": _explorer,
    "10_known_truth": _known_truth,
}
