"""Where each latent fires: the places where it fires most strongly, and samples from its strong to its weak firings."""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from sae_utils.errors import InputError

CANDIDATES = 8  # windows that are looked at for each one that is wanted, since some repeat one shown before


@dataclass(frozen=True)
class Window:
    """How much of the text around a firing is shown, and how many firings."""

    before: int = 20  # tokens before the one it fires on
    after: int = 10
    n_top: int = 10  # strongest firings, no two in one row of text
    n_parts: int = 4  # equal parts of a latent's firings, by strength
    n_per_part: int = 2  # firings drawn from each part

    def __post_init__(self):
        for name, value in asdict(self).items():
            least = 1 if name == "n_top" else 0
            if value < least:
                raise InputError(f"{name}={value} must be {least} or more")

    @property
    def size(self) -> int:
        """Tokens in a window."""
        return self.before + 1 + self.after


@dataclass(frozen=True)
class Contexts:
    """Windows of text, ordered by latent, then group. No latent has two windows with the same tokens."""

    latent: Int[np.ndarray, " c"]
    group: Int[np.ndarray, " c"]  # 0: strongest firings; 1 to n_parts: parts of the firings, strongest part first
    tokens: Int[np.ndarray, "c w"]  # token ids
    values: Float[np.ndarray, "c w"]  # the latent's activation on each, normalised units
    peak: Int[np.ndarray, " c"]  # place in the window of the firing that it was chosen for
    copies: Int[np.ndarray, " c"]  # of the latent's firings, those in a window of the same tokens, this one included


def choose_contexts(
    codes: sparse.csr_matrix,
    positions: Int[np.ndarray, " n_tokens"],
    rows: Int[np.ndarray, "n_rows context"],
    window: Window,
    seed: int,
) -> Contexts:
    """Contexts of every latent that fires, from its ``codes`` [n_tokens, n] on text ``rows``.

    ``positions`` says where in the rows, laid end to end, the token of each code is (see ``encode_text``). A window
    that would pass an end of its row is moved inside. Raises InputError for codes that do not belong to positions, for
    windows longer than a row, and where no latent fires.
    """
    if codes.shape[0] != len(positions):
        raise InputError(f"codes of {codes.shape[0]} tokens do not belong to {len(positions)} positions")
    if window.size > rows.shape[1]:
        raise InputError(f"windows of {window.size} tokens are longer than the rows of {rows.shape[1]}")
    columns = codes.tocsc()
    on_text = np.zeros(rows.size, dtype=np.float32)  # one latent's activation on every token
    parts = []
    for latent in range(codes.shape[1]):
        span = slice(columns.indptr[latent], columns.indptr[latent + 1])
        value, place = columns.data[span], positions[columns.indices[span]]
        if not len(value):
            continue
        order = np.lexsort((place, -value))  # of equally strong firings, the first in the text
        on_text[place] = value
        parts.append(_of_latent(latent, place[order], on_text, rows, window, seed))
        on_text[place] = 0
    if not parts:
        raise InputError("no latent fires on this text")
    return Contexts(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _of_latent(latent, place, on_text, rows, window, seed) -> tuple[np.ndarray, ...]:
    """The columns of Contexts for one latent that fires at ``place``, strongest first."""
    context, text = rows.shape[1], rows.reshape(-1)
    start = place - place % context + np.clip(place % context - window.before, 0, context - window.size)
    _, same, copies = np.unique(_window_keys(text, start, window.size), return_inverse=True, return_counts=True)
    _, first_of_row = np.unique(place // context, return_index=True)
    groups = [(np.sort(first_of_row), window.n_top)]
    rng = np.random.default_rng((seed, latent))
    for part in np.array_split(np.arange(len(place)), max(1, window.n_parts))[: window.n_parts]:
        groups.append((rng.permutation(part)[: CANDIDATES * window.n_per_part], window.n_per_part))

    shown: set[int] = set()
    chosen, group_of = [], []
    for group, (candidates, wanted) in enumerate(groups):
        new = [i for i in candidates if same[i] not in shown]
        _, first = np.unique(same[new], return_index=True)
        kept = [new[i] for i in np.sort(first)[:wanted]]
        shown.update(same[kept])
        chosen += kept
        group_of += [group] * len(kept)
    whole = start[chosen, None] + np.arange(window.size)
    columns = text[whole], on_text[whole], (place - start)[chosen], copies[same[chosen]]
    return np.full(len(chosen), latent), np.array(group_of), *columns


def _window_keys(text: np.ndarray, start: np.ndarray, size: int) -> np.ndarray:
    """One number per window, equal for equal tokens (and for others with a chance of 2^-64)."""
    weights = np.random.default_rng(0).integers(1, 2**63, size, dtype=np.uint64)
    keys = np.zeros(len(start), dtype=np.uint64)
    for offset, weight in enumerate(weights):
        keys += text[start + offset].astype(np.uint64) * weight
    return keys
