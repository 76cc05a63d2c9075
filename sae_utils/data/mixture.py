"""A corpus of several sources, ``0.7 installed-python + 0.3 english.txt``: its parts, and the order of its rows.

The weights are shares of tokens. All rows have equally many, so whole rows of the sources are put in an order: each
source gives its own rows one after another, and has its share of every beginning of the order, but for about a row.
"""

import math
import os
import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Int

from sae_utils.errors import InputError

EXAMPLE = "0.7 installed-python + 0.3 english.txt"
WEIGHT = r"[0-9]{0,9}\.?[0-9]{1,9}"


def sources(corpus: str) -> dict[str, Fraction]:
    """The sources of a corpus, by name, and their shares, which sum to 1; a corpus without weights is its only one.

    A file that is there is one source, whatever its name. Raises InputError, whose text goes on after the corpus's
    name, for a weight that is not above 0, a weight of one source alone, a source named twice, and sources in a source.
    """
    if _is_file(corpus) or not re.search(rf"\s\+\s|^\s*{WEIGHT}\s", corpus):
        return {corpus: Fraction(1)}
    weights, places, parts = {}, set(), re.split(r"\s+\+\s+", corpus.strip())
    or_file = "; or there is no such file" if len(parts) == 1 else ""
    for part in parts:
        weight, _, source = part.partition(" ")
        source = source.strip()
        if not source or not re.fullmatch(WEIGHT, weight) or not Fraction(weight):
            raise InputError(f"has {part!r}, which is not a weight above 0 and a source, as in {EXAMPLE!r}{or_file}")
        if re.match(rf"\(|{WEIGHT}\s", source) and not _is_file(source):
            raise InputError(f"has {source!r} for a source, which is to be one corpus and no mixture")
        place = os.path.realpath(os.path.expanduser(source))
        if place in places:
            raise InputError(f"has the source {source!r} twice")
        places.add(place)
        weights[source] = Fraction(weight)
    if len(weights) == 1:
        raise InputError(f"has a weight for one source alone: write {source!r}, or several as in {EXAMPLE!r}{or_file}")
    return {source: weight / sum(weights.values()) for source, weight in weights.items()}


def row_order(shares: Sequence[Fraction], n_rows: int) -> Int[np.ndarray, " n_rows"]:
    """Which source each row is of, by its place among ``shares``; the first rows are the same for any ``n_rows``.

    Row j of a source is due at (j + 1/2) / share, and rows come as they are due: Sainte-Lague's divisors.
    """
    period = min(n_rows, math.lcm(*(share.denominator for share in shares)))
    due, source = [], []
    for i, share in enumerate(shares):
        n = int((period + len(shares)) * share) + 1  # more are not due by then
        due.append((np.arange(n) + 0.5) / float(share))
        source.append(np.full(n, i, dtype=np.int16))
    first = np.argsort(np.concatenate(due), kind="stable")[:period]
    return np.resize(np.concatenate(source)[first], n_rows)


def _is_file(name: str) -> bool:
    return os.path.isfile(os.path.expanduser(name))
