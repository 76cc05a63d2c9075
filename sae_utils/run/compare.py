"""What dictionaries share, by every criterion: ``python -m sae_utils.run.compare FOLDER FOLDER ...``.

Criteria, intervals and nulls are those of notebook 01, for two or more dictionaries of any format that ``read_sae``
knows: folders, files, or ``owner/repository/folder`` on the hub. Without ``--activations`` encoders are compared as
they are, as published numbers do; with them, in the metric of the data, and dead latents are left out; the nulls
are other random directions then, whose means differ by chance, too.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_utils.analysis import directions as nulls
from sae_utils.analysis.matching import Pairs, from_both_sides
from sae_utils.analysis.matching.criteria import (
    AGAINST_NULL,
    COSINE,
    CRITERIA,
    Criterion,
    Values,
    means,
    measure,
    of_pairs,
)
from sae_utils.analysis.matching.metric import in_metric
from sae_utils.errors import InputError
from sae_utils.saes import SAE, evaluate
from sae_utils.saes.formats.common import load_tensors, shapes_of
from sae_utils.saes.formats.published import Published, described, opened

BATCH = 1024  # activations that are encoded at once


def encoder_close(pairs: Pairs, seeds: Sequence[int]) -> Values:
    """The share of latents whose matched encoder row is close, for each ordered pair."""
    overlaps = {pair: pairs[pair] for pair in permutations(seeds, 2)}
    return {pair: o.fraction(o.encoder.cosine > o.threshold) for pair, o in overlaps.items()}


# What is printed beside the criteria of papers: their counterparts by the encoder alone, and what claim A-7 rests on.
ALL = {
    **CRITERIA,
    "shared_encoder_only": Criterion(encoder_close),
    "encoder_cosine": Criterion(partial(of_pairs, "encoder_cosine"), COSINE),
    "unshared_cosine": AGAINST_NULL["unshared_cosine"],
}
WORDS = {
    "shared_strict": "one partner, both close (A, text)",
    "shared_notebook": "both matched close (A, code)",
    "shared_max_cosine": "both nearest, many to one (A)",
    "shared_decoder_only": "matched decoder close (A, bars)",
    "shared_encoder_only": "matched encoder close",
    "shared_max_decoder": "nearest decoder close (B)",
    "decoder_cosine": "matched decoder, mean (PW-MCC)",
    "encoder_cosine": "matched encoder, mean",
    "unshared_cosine": "matched decoder, not strict, mean",
    "stability": "nearest decoder, mean (C)",
    "agree": "both matchings name one partner",
    "cycle_decoder": "i to j to k leads back, decoders",
    "cycle_encoder": "i to j to k leads back, encoders",
    "cycle_agreeing": "the same, of those that agree",
}


def read(names: Sequence[str]) -> tuple[list[SAE], list[bool], list[str]]:
    """Each dictionary, a stack of one; whether it reads centred activations; and lines that say what was read.

    Raises InputError, as ``read_sae`` does, for fewer than two, and for such as differ in d_in.
    """
    saes, centred, lines = [], [], []
    for name, (_, format, found, is_of_centred) in zip(names, opened(names), strict=True):
        first, last = len(saes) + 1, len(saes) + found.n_dictionaries
        lines += [f"{first}{f' to {last}' if last > first else ''}  {name}", f"   {described(found, format)}"]
        saes += [found.dictionary(i) for i in range(found.n_dictionaries)]
        centred += [is_of_centred] * found.n_dictionaries
    if len(saes) < 2:
        raise InputError(f"{names[0]} holds one dictionary; to compare takes two or more: name another folder")
    sizes = list(dict.fromkeys(sae.config.d_in for sae in saes))
    if len(sizes) > 1:
        raise InputError(f"dictionaries must have one d_in to be compared; found {', '.join(map(str, sizes))}")
    return saes, centred, lines


def read_activations(path: Path, d_in: int) -> Float[Tensor, "n d_in"]:
    """The one tensor of a safetensors file. Raises InputError where it is another, or not finite numbers."""
    if not path.is_file():
        raise InputError(f"--activations {path}: there is no such file")
    shapes = shapes_of(path)
    if len(shapes) != 1 or [len(s) for s in shapes.values()] != [2] or next(iter(shapes.values()))[1] != d_in:
        found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "none"
        raise InputError(f"--activations {path} must hold one tensor [tokens, {d_in}]; found {found}")
    return next(iter(load_tensors(path, dict.fromkeys(shapes, "fd")).values()))


def report(names: Sequence[str], activations: str = "") -> Iterator[str]:
    """The lines of the report, each as soon as it is known."""
    saes, centred, lines = read(names)
    x = read_activations(Path(activations), saes[0].config.d_in) if activations else None
    yield from [*lines, ""]
    encoders, decoders = ([getattr(sae, name)[0].detach() for sae in saes] for name in ("encoder", "W_dec"))
    if x is None:
        covariance, dead = None, "rows of zeros"
        unknown = " (those that never fire are not known without --activations FILE)"
        alive = [encoder.any(-1) & decoder.any(-1) for encoder, decoder in zip(encoders, decoders, strict=True)]
        yield "encoder rows are compared raw, as in published numbers; by what they compute: --activations FILE"
    else:
        covariance, dead, unknown = nulls.covariance(x.split(BATCH)), "latents that fire on none of the activations", ""
        as_trained = [Published(centred=one).activations for one in centred]
        quality = [evaluate(sae, map(own, x.split(BATCH))) for sae, own in zip(saes, as_trained, strict=True)]
        alive = [one.alive[0] for one in quality]
        yield f"encoder rows are compared by what they compute on {len(x):,} activations; raw: as published"
        yield "explained variance: " + ", ".join(f"{float(one.explained_variance):.3f}" for one in quality)
        yield "active latents (L0): " + ", ".join(f"{float(one.l0):.1f}" for one in quality)
    counts = [int(some.sum()) for some in alive]
    yield f"left out, {dead}: {', '.join(str(len(a) - n) for a, n in zip(alive, counts, strict=True))}{unknown}"
    if len(set(counts)) > 1 and all(counts):
        most = np.mean([min(i, j) / i for i, j in permutations(counts, 2)])
        yield f"of {', '.join(map(str, counts))} latents, no share can exceed {most:.3f} one to one"
    yield from table(encoders, decoders, alive, covariance)


def table(
    encoders: Sequence[Float[Tensor, "n d"]],
    decoders: Sequence[Float[Tensor, "n d"]],
    alive: Sequence[Bool[Tensor, " n"]],
    covariance: Float[Tensor, "d d"] | None,
) -> Iterator[str]:
    """Lines about the comparison, and one for each criterion that all pairs have: interval, raw rows, nulls."""

    def compared(encoders, decoders) -> Pairs:
        rows = encoders if covariance is None else [in_metric(encoder, covariance) for encoder in encoders]
        return from_both_sides(rows, decoders, alive)

    pairs, numbers = compared(encoders, decoders), range(len(decoders))
    defined = {name: one for name, one in ALL.items() if not np.isnan([*one.values(pairs, numbers).values()]).any()}
    found = measure(pairs, defined)
    beside = {} if covariance is None else {"raw": means(from_both_sides(encoders, decoders, alive), defined)}
    for encoder, stack in random(decoders, alive, covariance).items():
        beside[encoder] = means(compared(*stack), defined)
    yield f"{len(pairs)} ordered pairs of {len(numbers)} dictionaries; 95 % intervals: {found['agree'].method}"
    yield "tied, indep.: random dictionaries, spread as the decoder rows; encoder equal to decoder, or its own"
    yield "shares of latents, but mean cosines in lines that say mean; A, B, C: the papers in README.md"
    yield "matched: one to one; nearest: many to one; one partner: by both rows; close: a cosine above 0.7"
    yield ""
    yield f"{'':20}{'here, 95 %':24}{''.join(f'{name:>7}' for name in beside)}"
    for name in WORDS:
        if name in found:
            values = "".join(f"{column[name]:7.3f}" for column in beside.values())
            yield f"{name:20}{found[name]!s:24}{values}  {WORDS[name]}"


def random(
    decoders: Sequence[Float[Tensor, "n d"]],
    alive: Sequence[Bool[Tensor, " n"]],
    covariance: Float[Tensor, "d d"] | None,
) -> Mapping[str, Sequence[Sequence[Float[Tensor, "n d"]]]]:
    """Encoders and decoders of as many and as large dictionaries that learned nothing, spread as the decoders are."""
    own = nulls.second_moment(torch.cat([rows[some] for rows, some in zip(decoders, alive, strict=True)]))
    spreads = ({} if covariance is None else {nulls.ACTIVATIONS: covariance}) | {nulls.DECODERS: own}
    sizes = [len(rows) for rows in decoders]
    stacks = nulls.null_stacks((len(sizes), max(sizes)), spreads, seed=0, keep=(nulls.DECODERS,))

    def of(kind: str) -> list[list[Tensor]]:
        return [[rows[:n] for rows, n in zip(part, sizes, strict=True)] for part in stacks[f"{nulls.DECODERS}_{kind}"]]

    return {"tied": of(nulls.TIED), "indep.": of(nulls.INDEPENDENT)}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; gives the exit code: 0 done, 2 bad input."""
    about = "What two or more dictionaries share, by every criterion of notebooks/01_seed_divergence.ipynb."
    parser = argparse.ArgumentParser(prog="python -m sae_utils.run.compare", description=about)
    parser.add_argument("dictionaries", nargs="+", help="folders, files, or owner/repository/folder on the hub")
    given = "a safetensors file of one tensor [tokens, d_in], activations of the place that the dictionaries read: "
    given += "encoders are then compared by what they compute on these, and latents that never fire are left out"
    parser.add_argument("--activations", default="", metavar="FILE", help=given)
    options = parser.parse_args(arguments)
    try:
        for line in report(options.dictionaries, options.activations):
            print(line, flush=True)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
