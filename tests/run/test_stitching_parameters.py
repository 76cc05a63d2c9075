"""What the family of notebook 03 cannot be is refused in one line."""

import pytest

from sae_utils.errors import InputError
from sae_utils.paths import NOTEBOOKS
from sae_utils.run.notebooks import default_parameters
from sae_utils.run.parameters import check

NAME = "03_stitching"
BAD = [
    ({"widths": [64], "sparsities": [1.0]}, r"widths = \[64\] must be two or more, from narrow to wide"),
    ({"widths": [128, 64, 32]}, r"widths = \[128, 64, 32\] must be two or more, from narrow to wide"),
    ({"widths": [32, 64, 64]}, r"widths = \[32, 64, 64\] holds 64 twice"),
    ({"sparsities": [1.0, 2.0]}, r"sparsities = \[1.0, 2.0\] must be one for each of widths = \[32, 64, 128\]"),
    ({"sparsities": [1.0, 2.0, -1.0]}, r"sparsities = -1.0 must be 0 or more"),
    ({"k": 40}, "k = 40 must be 1 to widths"),
    ({"n_seeds": 1}, "n_seeds = 1 must be 2 or more"),
    ({"n_seeds": 2}, "n_seeds = 2 must be 3 or more: a latent is compared with dictionaries of two other seeds"),
    ({"n_cross_seeds": 2}, "n_cross_seeds = 2 must be 3 or more"),
    ({"n_source_tokens": -1}, "n_source_tokens = -1 must be 0 or more"),
]


@pytest.mark.parametrize(("change", "said"), BAD, ids=[said for _, said in BAD])
def test_impossible_families_are_refused_in_one_line(change, said):
    good = default_parameters(NOTEBOOKS / f"{NAME}.ipynb")
    check(NAME, good)
    with pytest.raises(InputError, match=f"^parameter {said}[^\n]*$"):
        check(NAME, good | change)
