import pytest

from sae_utils.analysis.statistics import CONFIDENCE
from sae_utils.report.claims.entries import FAILS, HOLDS, NOT_JUDGED, UNDECIDED
from sae_utils.report.claims.family import ALPHA, after_holm, elsewhere


def test_one_claim_alone_is_judged_as_its_interval_says():
    assert pytest.approx((1 - CONFIDENCE) / 2) == ALPHA


@pytest.mark.parametrize(
    ("family", "left"),
    [
        # By hand: .025 / 4 = .00625, .025 / 3 = .00833, .025 / 2 = .0125, .025.
        (((HOLDS, 0.006), (FAILS, 0.008), (HOLDS, 0.012), (FAILS, 0.024)), (HOLDS, FAILS, HOLDS, FAILS)),
        (((HOLDS, 0.024), (FAILS, 0.009), (HOLDS, 0.001), (FAILS, 0.01)), (UNDECIDED, UNDECIDED, HOLDS, UNDECIDED)),
        # .012 is above .00833, so the larger ones fall with it, though .0122 would do where it stands.
        (((HOLDS, 0.001), (HOLDS, 0.012), (HOLDS, 0.0122), (HOLDS, 0.02)), (HOLDS, UNDECIDED, UNDECIDED, UNDECIDED)),
        # What is undecided counts: .009 would do among two. What is not judged does not.
        (((HOLDS, 0.001), (FAILS, 0.009), (UNDECIDED, None), (UNDECIDED, None)), (HOLDS, *3 * (UNDECIDED,))),
        (((HOLDS, 0.02), (NOT_JUDGED, None)), (HOLDS, NOT_JUDGED)),
        (((HOLDS, 0.02), (f"{NOT_JUDGED}: not reproducible", None)), (HOLDS, f"{NOT_JUDGED}: not reproducible")),
        ((), ()),
    ],
)
def test_holm_by_hand(family, left):
    assert after_holm([{"verdict": verdict, "p": p} for verdict, p in family]) == list(left)


@pytest.mark.parametrize(
    ("here", "others", "said"),
    [
        (HOLDS, (HOLDS, HOLDS), "replicated"),
        (FAILS, (FAILS, FAILS), "replicated"),
        (HOLDS, (HOLDS, UNDECIDED), "layer 0: holds; layer 1: undecided"),
        (HOLDS, (FAILS, FAILS), "layer 0: does not hold; layer 1: does not hold"),
        (UNDECIDED, (UNDECIDED, UNDECIDED), "layer 0: undecided; layer 1: undecided"),
        (HOLDS, (HOLDS,), "layer 0: holds"),
        (HOLDS, (NOT_JUDGED, HOLDS), "layer 0: not judged; layer 1: holds"),
        (HOLDS, (), ""),
    ],
)
def test_two_other_places_replicate_a_decision(here, others, said):
    assert elsewhere(here, [{"place": f"layer {i}", "verdict": one} for i, one in enumerate(others)]) == said
