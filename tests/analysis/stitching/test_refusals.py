"""What cannot be stitched is refused in one line that says what, and before any activation is read."""

import numpy as np
import pytest
import torch
from helpers.stitched_pairs import REFUSALS, other, pair

from sae_utils.analysis.stitching.between_seeds import larger_k, novel_and_orphan
from sae_utils.analysis.stitching.frankenstein import frankensteins, fvu_at
from sae_utils.analysis.stitching.insertion import insert
from sae_utils.analysis.stitching.swap_groups import relate
from sae_utils.analysis.stitching.together import code_the_residual
from sae_utils.analysis.stitching.walk import dictionary_after, pair_error, walk_steps
from sae_utils.errors import InputError


def unread():
    raise AssertionError("activations were read")
    yield


ONE, TWO = (sae.dictionary(0) for sae in pair("topk")[:2])
RELU = [sae.dictionary(0) for sae in pair("relu")[:2]]
NO_SETS = insert(ONE, TWO, [torch.zeros(3, 6).double()])
OF_A_PAIR = {
    "insert": lambda small, large: insert(small, large, unread()),
    "pair_error": lambda small, large: pair_error(small, large, unread()),
    "dictionary_after": lambda small, large: dictionary_after(small, large, []),
    "frankensteins": lambda small, large: frankensteins([small, large], 0.7),
}
OTHERS = {
    "there are no activations to measure the insertion": lambda: insert(ONE, TWO, []),
    "there are no activations to measure the stitching": lambda: pair_error(ONE, TWO, []),
    "there are no activations to measure the stitching on": lambda: code_the_residual(ONE, TWO.W_dec[0], 1, []),
    "there are no rows to code a residual with": lambda: code_the_residual(ONE, TWO.W_dec[0, :0], 1, unread()),
    "sets need mean products of activations: call insert with sets=True": lambda: NO_SETS.greedy(0, 0, np.ones(40) > 0),
    "threshold=1.5 must be a cosine, from -1 to 1": lambda: relate(ONE.W_dec[0], TWO.W_dec[0], 1.5),
    "order='never' is unknown; allowed: greedy, gentle, cosine, random": lambda: walk_steps(None, None, "never"),
    "family=[] must hold": lambda: frankensteins([], 0.7),
    "widths must rise, but 40 latents come twice": lambda: frankensteins([ONE, TWO, TWO], 0.7),
    "a stack of 2 dictionaries": lambda: frankensteins([pair("topk")[0], TWO], 0.7),
    "n_latents=300 must be 16 to 256, the widths that were trained": lambda: fvu_at([16, 256], [0.4, 0.1], 300),
    "architecture='relu' has no k that could be larger; allowed: topk": lambda: larger_k(RELU[0], unread),
    "novel latents and orphans are compared between 3 or more seeds, not 0": lambda: novel_and_orphan([None], [{}]),
}


@pytest.mark.parametrize("start", REFUSALS)
@pytest.mark.parametrize("function", OF_A_PAIR)
def test_saes_that_do_not_fit(function, start):
    with pytest.raises(InputError) as error:
        OF_A_PAIR[function](ONE, other(**REFUSALS[start]))
    assert str(error.value).startswith(start) and "\n" not in str(error.value)


@pytest.mark.parametrize("start", OTHERS)
def test_what_else_is_refused(start):
    with pytest.raises(InputError) as error:
        OTHERS[start]()
    assert str(error.value).startswith(start) and "\n" not in str(error.value)
