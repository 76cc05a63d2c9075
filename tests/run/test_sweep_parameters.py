"""What the sweeps of notebook 02 cannot be is refused in one line; its own values and presets are taken elsewhere."""

import pytest

from sae_utils.errors import InputError
from sae_utils.paths import NOTEBOOKS
from sae_utils.run.notebooks import default_parameters
from sae_utils.run.parameters import check

NAME = "02_what_moves_overlap"
BAD = [
    ({"widths": [64]}, r"widths = \[64\] must be 2 or more, from small to large"),
    ({"ks": [8, 4]}, r"ks = \[8, 4\] must be 2 or more, from small to large"),
    ({"layers": [0, 5]}, r"layers = \[0, 5\] must be 3 or more"),
    ({"layers": [0, 3, 6]}, "layer = 6 must be 0 to 5 for the model pycode-2m"),
    ({"sites": ["mlp_out"]}, "sites = .* must hold 'resid_post'"),
    ({"architectures": ["topk", "relu"]}, "architectures = .* must hold 'gated'"),
    ({"architecture": "relu"}, "architecture = 'relu' needs a sparsity coefficient"),
    ({"token_counts": [200, 100]}, "token_counts = .* must go from small to large and end before n_tokens = 50000"),
    ({"token_counts": [100, 50_000]}, "token_counts = .* must go from small to large and end before n_tokens = 50000"),
    ({"architecture_width": 8}, "architecture_width = 8 must be above k = 8"),
    ({"n_seeds": 2}, "n_seeds = 2 must be 3 or more"),
    ({"k": 40}, "k = 40 must be 1 to widths"),
]


@pytest.mark.parametrize(("change", "said"), BAD, ids=[said for _, said in BAD])
def test_impossible_sweeps_are_refused_in_one_line(change, said):
    good = default_parameters(NOTEBOOKS / f"{NAME}.ipynb")
    check(NAME, good)
    with pytest.raises(InputError, match=f"^parameter {said}[^\n]*$"):
        check(NAME, good | change)
