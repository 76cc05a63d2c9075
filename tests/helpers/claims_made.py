"""A made-up claim and intervals to judge it by."""

from sae_utils.analysis.statistics import JACKKNIFE, Interval
from sae_utils.report.claims import Claim

ENTRY = {
    "id": "A-9",
    "paper": "A",
    "section": "Figure 1",
    "text": "Some are shared.",
    "number": 0.4,
    "known": "R",
    "metric": "shared_strict",
    "rule": {"above": 0.1, "below": 0.9},
    "unit": "share",
}


def claim(**changes):
    return Claim(**ENTRY | changes)


def interval(low, high):
    return Interval((low + high) / 2, low, high, JACKKNIFE)
