"""What a notebook trains, read off its parameters: stacks of dictionaries, the activations they read, and the passes.

A twin, in numbers, of the notebooks' own cells, so that a plan can be printed without loading anything. Not in it:
evaluation and analysis after training. tests/test_presets_end_to_end.py holds it to what the notebooks train.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

from sae_utils.memory import HELD_GB

TUNED = ("relu", "gated", "jump_relu")  # architectures whose L0 a coefficient sets (dictionary.sparsity)
# Shares of the run that pilots of the coefficient's search have, and how many there are of each. The search stops when
# it is near: this many are the first tries and one more of each length but the shortest.
PILOTS = ((1 / 8, 2), (1 / 2, 2), (1.0, 2))


@dataclass(frozen=True)
class Activations:
    """Rows of text at some hook points, (site, layer) each. ``streamed``: never kept on disk."""

    hooks: tuple[tuple[str, int], ...]
    n_tokens: int
    split: str = "train"
    streamed: bool = False


@dataclass(frozen=True)
class Stack:
    """Dictionaries that are trained together. ``frozen``: those of the same form that run before each (boosting)."""

    n_dictionaries: int
    n_latents: int
    k: int
    n_tokens: int
    batch_size: int
    architecture: str = "topk"
    frozen: int = 0
    label: str = ""  # tells stacks apart that are equal in all else


@dataclass(frozen=True)
class Pass:
    """Stacks trained in lockstep on one reading of activations; each of them at the hook points ``hooks`` in turn."""

    reads: Activations
    stacks: tuple[Stack, ...]
    held: bool = False  # the activations wait in memory


@dataclass(frozen=True)
class Work:
    """All of one notebook. ``forward_tokens`` pass through the whole language model beside the activations."""

    opened: tuple[Activations, ...] = ()
    passes: tuple[Pass, ...] = ()
    text: tuple[tuple[str, int], ...] = ()  # (split, tokens) beside those of ``opened``
    forward_tokens: float = 0
    meta: tuple[tuple[int, Stack], ...] = ()  # meta-SAEs, whose tokens are decoder rows: (how many, of what form)


def _hook(p) -> tuple[tuple[str, int], ...]:
    return ((p.site, p.layer),)


def _train(p, n_tokens: int | None = None) -> Activations:
    return Activations(_hook(p), n_tokens or max(getattr(p, "n_source_tokens", 0), p.n_tokens))


def _held_out(p) -> Activations:
    return Activations(_hook(p), p.n_eval_tokens, "held_out")


def _seeds(p, n: int | None = None, n_tokens: int | None = None) -> Stack:
    """The dictionaries of notebook 01."""
    architecture = getattr(p, "architecture", "topk")
    return Stack(n or p.n_seeds, p.n_latents, p.k, n_tokens or p.n_tokens, p.batch_size, architecture)


def language_model(p, n_layers: int) -> Work:
    """Notebook 00: every held-out row once without the MLP of each layer, and three times as it is."""
    rows = p.n_eval_rows * p.context
    return Work(text=(("held_out", rows), ("train", p.n_ngram_tokens)), forward_tokens=(n_layers + 3) * rows)


def seed_divergence(p, n_layers: int) -> Work:
    """Notebooks 01 and 08: one stack of seeds."""
    source = _train(p)
    return Work((source, _held_out(p)), (Pass(source, (_seeds(p),)),))


def explorer(p, n_layers: int) -> Work:
    """Notebook 09: the seeds, and one smaller dictionary."""
    source, seeds = _train(p), _seeds(p)
    both = seeds, replace(seeds, n_dictionaries=1, n_latents=p.n_smaller)
    return Work((source, _held_out(p)), (Pass(source, both),))


def _pilots(p, source: Activations, stack: Stack, architectures, held: bool = False) -> tuple[Pass, ...]:
    wanted = [replace(stack, architecture=a, label="pilot") for a in architectures if a in TUNED]
    return tuple(
        Pass(
            source,
            tuple(replace(s, n_dictionaries=n, n_tokens=max(round(share * s.n_tokens), s.batch_size)) for s in wanted),
            held,
        )
        for share, n in PILOTS
        if wanted
    )


def sweeps(p, n_layers: int) -> Work:
    """Notebook 02: each property's points at the centre's hook point in one pass, other hook points in another."""
    hook = _hook(p)[0]
    hooks = dict.fromkeys([*((p.site, layer) for layer in p.layers), *((site, p.layer) for site in p.sites)])
    others = tuple(other for other in hooks if other != hook)
    source = _train(p)
    streamed = replace(source, hooks=others, streamed=True)
    held_out = replace(_held_out(p), hooks=(hook, *others))
    centre = _seeds(p)
    points = [replace(centre, n_latents=n) for n in p.widths] + [replace(centre, k=k) for k in p.ks]
    points += [replace(centre, n_latents=p.architecture_width, architecture=a) for a in p.architectures]
    here = Pass(source, tuple(dict.fromkeys([centre, *points])))
    there = Pass(streamed, tuple(replace(centre, label=f"{site} {layer}") for site, layer in others))
    pilot = replace(centre, n_dictionaries=1, n_latents=p.architecture_width)
    return Work((source, held_out), (*_pilots(p, source, pilot, p.architectures), here, there))


def _family(p, with_others: bool) -> tuple[Stack, ...]:
    """TopK dictionaries of each width, and one BatchTopK and one ReLU with them."""
    topk = [Stack(p.n_seeds, n, p.k, p.n_tokens, p.batch_size) for n in p.widths]
    kinds = ("batch_topk", "relu") if with_others else ()
    return (*topk, *(replace(one, n_dictionaries=1, architecture=kind) for kind in kinds for one in topk))


def stitching(p, n_layers: int) -> Work:
    """Notebook 03: the family, controls as wide as half-built Frankensteins, and the dictionaries of notebook 01.

    How wide a Frankenstein is depends on what is novel; the widest of the family is taken for it.
    """
    source = _train(p)
    family = _family(p, with_others=True)
    fair = [replace(family[0], n_dictionaries=1, n_latents=p.widths[-1], label=f"control {i}") for i in range(2)]
    controls = tuple(replace(one, label=f"{one.label} {s}") for one in fair for s in range(p.n_seeds))
    cross = _seeds(p, p.n_cross_seeds, source.n_tokens)
    passes = Pass(source, family), Pass(source, controls), Pass(source, (cross,))
    return Work((source, _held_out(p)), passes)


def meta_saes(p, n_layers: int) -> Work:
    """Notebook 04: the TopK family, and the meta-SAEs of ``analysis.meta_study`` on the rows of its widest."""
    source = _train(p)
    sizes = list(dict.fromkeys([p.n_meta, *p.meta_widths]))
    n_ks = len({p.meta_k, *p.meta_ks})
    # Of each dictionary: two of the main size, one of every other size, all sizes on covariance-matched rows, the main
    # one on two other nulls; planted rows at each k; the refits of each smaller width, of itself and of two nulls; and
    # one on the rows of all widths.
    n_main = 2 + (n_ks - 1) + n_ks + 2 + n_ks + (len(p.widths) + 2) + 1
    main = Stack(1, p.n_meta, p.meta_k, p.n_meta_steps * p.meta_batch_size, p.meta_batch_size, "batch_topk")
    meta = (p.n_seeds * n_main, main), *((2 * p.n_seeds, replace(main, n_latents=n)) for n in sizes[1:])
    return Work((source, _held_out(p)), (Pass(source, _family(p, with_others=False)),), meta=meta)


def _rivals(source: Activations, member: Stack, n: int, n_ensembles: int, held: bool) -> tuple[Pass, ...]:
    """Single, expanded and boosted dictionaries (``dictionary.rivals``)."""
    single = replace(member, n_dictionaries=n * n_ensembles)
    expanded = replace(member, n_dictionaries=n_ensembles, n_latents=n * member.n_latents)
    stages = [replace(member, n_dictionaries=n_ensembles, frozen=j) for j in range(1, n)]
    return (Pass(source, (single, expanded), held), *(Pass(source, (stage,), held) for stage in stages))


def _member(p, architecture: str, n_latents: int) -> Stack:
    return Stack(1, n_latents, p.k, p.member_tokens, p.member_batch_size, architecture)


def _total_l0(p, member: Stack) -> Stack:
    n = p.n_members
    return replace(member, n_dictionaries=p.n_ensembles, n_latents=n * member.n_latents, k=n * p.k)


def _consensus(p, n: int) -> Stack:
    """Refits of both halves' consensus, which is at most as wide as the dictionaries it is made of."""
    return Stack(n, p.n_latents, p.k, p.member_tokens, p.member_batch_size, label="consensus")


def ensembles(p, n_layers: int, held: bool) -> Work:
    """Notebook 05: rivals of three architectures, controls, the seeds of notebook 01 and their consensus."""
    source = _train(p)
    member = _member(p, "topk", p.member_latents)
    others = [_member(p, name, p.other_latents) for name in ("relu", "jump_relu")]
    passes = [each for kind in (member, *others) for each in _rivals(source, kind, *_shape(p), held)]
    passes += _pilots(p, source, others[0], ("relu", "jump_relu"), held)
    powers = sorted({*(2**i for i in range(1, p.n_members.bit_length()) if 2**i < p.n_members), p.n_members})
    single = replace(member, n_dictionaries=p.n_ensembles)
    passes += [Pass(source, (replace(single, k=p.k * n),), held) for n in powers]
    passes += [Pass(source, (_total_l0(p, member),), held)]
    passes += [Pass(source, (replace(single, n_tokens=p.n_members * p.member_tokens),)), Pass(source, (_seeds(p),))]
    # Of each half: three ways to merge, refitted twice, one fresh dictionary, two of half the width, and two boosted.
    passes += [Pass(source, (_consensus(p, 2 * 9),), held), Pass(source, (replace(_seeds(p, 2), label="consensus"),))]
    return Work((source, _held_out(p)), tuple(passes))


def _shape(p) -> tuple[int, int]:
    return p.n_members, p.n_ensembles


def concepts(p, n_layers: int, held: bool) -> Work:
    """Notebook 06: rivals of one architecture, the seeds of notebook 01 and their consensus."""
    source = _train(p)
    member = _member(p, p.architecture, p.member_latents)
    passes = [*_rivals(source, member, *_shape(p), held), Pass(source, (_total_l0(p, member),), held)]
    passes += [Pass(source, (_seeds(p),)), Pass(source, (_consensus(p, 2),), held)]
    return Work((source,), tuple(passes))


def correlations(p, n_layers: int, held: bool) -> Work:
    """Notebook 07: rivals of one architecture."""
    source = _train(p, max(p.n_source_tokens, p.member_tokens))
    member = _member(p, p.architecture, p.member_latents)
    return Work((source,), (*_rivals(source, member, *_shape(p), held), Pass(source, (_total_l0(p, member),), held)))


WORK: dict[str, Callable[..., Work]] = {
    "00_language_model": language_model,
    "01_seed_divergence": seed_divergence,
    "02_what_moves_overlap": sweeps,
    "03_stitching": stitching,
    "04_meta_saes": meta_saes,
    "05_bagging_and_boosting": ensembles,
    "06_concept_detection": concepts,
    "07_spurious_correlations": correlations,
    "08_shared_and_orphan": seed_divergence,
    "09_explorer": explorer,
}


def work(notebook: str, parameters: dict[str, object], n_layers: int, context: int, d_model: int) -> Work:
    """Of a notebook with these parameters, on a model of these sizes."""
    p = SimpleNamespace(**parameters)
    p.context = p.context or context
    held = {"held": 4e-9 * p.member_tokens * d_model <= HELD_GB} if hasattr(p, "member_tokens") else {}
    found = WORK[notebook](p, n_layers, **held)
    return replace(found, passes=()) if getattr(p, "saes", None) else found  # published SAEs: nothing is trained
