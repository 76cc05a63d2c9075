"""The figure of claims draws each number where it is, by its own scale, and no word on another."""

import itertools

import numpy as np
import pytest
from helpers.claims_made import claim
from helpers.drawn import assert_rows, words

from sae_utils.report.claims.entries import FAILS, HOLDS, NOT_JUDGED, UNDECIDED, in_order, load_claims
from sae_utils.report.figures.forest import ends, forest

HERE, MODEL, PLACES = "here (laptop)", "other-135m", ["replication-1", "replication-2"]


def answer(estimate, low, high, verdict, null=None):
    return {"estimate": estimate, "low": low, "high": high, "verdict": verdict, "null": null}


NONE = answer(None, None, None, f"{NOT_JUDGED}: too few seeds")
ALL = {
    HERE: answer(0.25, 0.2, 0.3, HOLDS, null=0.01),
    MODEL: answer(0.05, 0.02, 0.08, FAILS),
    PLACES[0]: answer(0.1, 0.05, 0.15, UNDECIDED),
    PLACES[1]: answer(0.5, 0.4, 0.6, f"{NOT_JUDGED}: why"),
}


def drawn(*rows):
    return forest("Paper A", rows, HERE, [MODEL], PLACES)


def test_each_answer_has_a_lane_of_its_own_on_the_axis_of_the_rule_the_null_and_the_papers_number(style):
    (ax,) = drawn((claim(), ALL)).axes
    rows = [[one["estimate"], one["low"], one["high"]] for one in ALL.values()]
    assert_rows(ax.containers, rows, across=True)
    assert [container.lines[0].get_ydata()[0] for container in ax.containers] == [3, 2, 1, 0]
    (region,) = ax.patches
    np.testing.assert_allclose(region.get_extents().transformed(ax.transData.inverted()).intervalx, [0.1, 0.9])
    star, null = (line for line in ax.lines if line.get_marker() == "*" or line.get_linestyle() == ":")
    assert star.get_xdata() == 0.4 and list(null.get_xdata()) == [0.01, 0.01]
    assert words(ax.texts) == ["0", "0.96", "A-9", "Some are shared.", "holds", "rule: 0.1 to 0.9", "0.250 share"]


def test_a_difference_from_the_null_has_no_null_on_its_axis(style):
    (ax,) = drawn((claim(unit="difference of shares", rule={"above": 0}), ALL)).axes
    assert [line.get_marker() for line in ax.lines if line.get_linestyle() == ":"] == []


@pytest.mark.parametrize(("found", "word"), [({}, "not run"), ({HERE: NONE}, "not judged")])
def test_a_claim_without_a_number_has_no_axis_and_says_so(style, found, word):
    fig = drawn((claim(known="P"), found), (claim(id="A-10"), {HERE: ALL[HERE]}))
    assert words(fig.axes[0].texts) == ["A-9", "Some are shared.", word, "rule: 0.1 to 0.9", "share"]
    assert not fig.axes[0].containers and not fig.axes[0].spines["bottom"].get_visible()
    assert words(fig.legends[0].get_texts())[1:3] == ["paper's or pilot's number", "null"]  # no model, no places


@pytest.mark.parametrize(
    ("values", "limits", "expected"),
    [
        ([0.1, 0.9, 0.2], (0, 1), (0.05, 0.95)),
        ([0.0, 1.0], (0, 1), (0, 1)),
        ([-0.095, 43.06, 0.05], (0, np.inf), (-3, 46)),  # an interval that leaves what the metric can be
        ([-0.0032, 0.0], (-1, 1), (-0.0034, 0.0002)),
        ([0.0], (-1, 1), (-0.1, 0.1)),
    ],
)
def test_ends_are_round_and_hold_every_value(values, limits, expected):
    assert ends(values, limits) == pytest.approx(expected)


def test_no_word_of_the_longest_claims_meets_another(style):
    claims = in_order(load_claims().values())
    rows = [(one, {name: answer(-0.0046, -0.0085, -0.0006, FAILS, -0.0085) for name in ALL}) for one in claims]
    longest = sorted(rows, key=lambda row: (len(row[0].text), len(row[0].unit)))[-12:]
    fig = drawn(*longest, *[row for row in rows if row[0].unit == "difference of explained variances"][:3])
    fig.draw_without_rendering()
    texts = [*fig.texts, *fig.legends[0].get_texts(), *(text for ax in fig.axes for text in ax.texts)]
    boxes = [text.get_window_extent() for text in texts]
    pairs = itertools.combinations(zip(texts, boxes, strict=True), 2)
    assert [(a.get_text(), b.get_text()) for (a, x), (b, y) in pairs if x.overlaps(y)] == []
    assert all(box.x0 >= 0 and box.x1 <= fig.bbox.x1 and box.y1 <= fig.bbox.y1 for box in boxes)
    assert min(text.get_fontsize() for text in texts) >= 7
