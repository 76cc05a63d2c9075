import pytest

from sae_utils.errors import InputError
from sae_utils.paths import NOTEBOOKS
from sae_utils.run.notebooks import default_parameters
from sae_utils.run.parameters import check

DETECTION, SPURIOUS = "06_concept_detection", "07_spurious_correlations"


def refused(notebook, words, **change):
    with pytest.raises(InputError, match=words):
        check(notebook, default_parameters(NOTEBOOKS / f"{notebook}.ipynb") | change)


@pytest.mark.parametrize("notebook", [DETECTION, SPURIOUS])
def test_members_and_windows_that_cannot_be(notebook):
    refused(notebook, "member_latents = 4 must be 8 or more beside the other", member_latents=4)
    refused(notebook, "member_tokens = 100 must be 128 ", member_tokens=100)
    refused(notebook, "window = 65 must be 2 to 64 beside the other", context=64, window=65)
    refused(notebook, "n_ensembles = 1 must be 2 or more", n_ensembles=1)


def test_members_read_no_more_than_there_is():
    refused(DETECTION, "member_tokens = 500000 must be 128 to 400000", member_tokens=500_000)


def test_claims_need_one_latent_and_several():
    for ks in ([2, 5], [1]):
        refused(DETECTION, "probe_ks = .* must hold 1 and at least one more", probe_ks=ks)
    refused(DETECTION, "at_least = 3 must be 2 to half of n_seeds = 5", at_least=3)


def test_pairs_of_attributes_are_two_names():
    refused(SPURIOUS, "attribute_pairs = 'test' must be two concepts with ' & ' between them", attribute_pairs=["test"])
    refused(SPURIOUS, "n_ablated = 0 must be 1 or more", n_ablated=[0])
