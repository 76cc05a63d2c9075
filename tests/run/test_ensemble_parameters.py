"""Parameters of the notebook on ensembles that do not go together are refused in one line."""

import pytest

from sae_utils.errors import InputError
from sae_utils.paths import NOTEBOOKS
from sae_utils.run.notebooks import default_parameters
from sae_utils.run.parameters import check

NAME = "05_bagging_and_boosting"
DEFAULTS = default_parameters(NOTEBOOKS / f"{NAME}.ipynb")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"n_seeds": 4}, "n_seeds = 4 must be 5 or more"),
        ({"n_seeds": 7, "at_least": 4}, "at_least = 4 must be 2 to 3"),
        ({"k": 8, "n_members": 9}, "member_latents = 64 must be 72 or more"),
        ({"member_tokens": 500_000}, "member_tokens = 500000 must be 128 to 400000"),
        ({"member_batch_size": 60_000}, "member_tokens = 50000 must be 60000 to"),
        ({"other_latents": 8}, "other_latents = 8 must be 9 or more"),
        ({"n_ensembles": 2}, "n_ensembles = 2 must be 3 or more"),
        ({"n_members": 1}, "n_members = 1 must be 2 or more"),
    ],
)
def test_what_does_not_go_together_is_refused(change, message):
    check(NAME, DEFAULTS)
    with pytest.raises(InputError, match=message) as error:
        check(NAME, DEFAULTS | change)
    assert "\n" not in str(error.value)
