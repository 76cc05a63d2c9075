"""The figures of the claims page: a row for each claim of a paper, on an axis of its own, for units differ.

Shapes say whose number it is, colours what its verdict is. A null is drawn only where the claim's number is no
difference: most differences are taken from their null, which is then no place on their axis.
"""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log10

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from sae_utils.report.claims.entries import FAILS, HOLDS, NOT_JUDGED, NOT_RUN, UNDECIDED, Claim, in_words
from sae_utils.report.claims.family import short
from sae_utils.report.figures.parts import draw_intervals, key, rows_of
from sae_utils.report.figures.style import BLACK, BLUE, GREY, SKY, VERMILION, YELLOW

COLOURS = {HOLDS: BLUE, FAILS: VERMILION, UNDECIDED: BLACK}  # GREY where nothing is judged
SIZE, CHARACTERS = 7.5, 61  # points; to a line of a claim
ROW, HEAD, WIDTH = 0.35, 0.62, 9.7  # inches: a row's height, that of title and legend, the figure's width
LEFT, AXIS = 4.45, 2.35  # inches: where the rows' axes begin, and their length
CLAIM, VERDICT, RULE = 0.5, LEFT + AXIS + 0.5, LEFT + AXIS + 1.45  # inches: where the words begin
HERE = {"marker": "o", "markersize": 4.8, "linewidth": 2.2}
MODEL = {"marker": "s", "markersize": 3.4, "linewidth": 1}
PLACE = {"marker": "D", "markersize": 3.2, "linewidth": 0.8, "markerfacecolor": "white"}
PAPER = {"marker": "*", "markersize": 7, "markerfacecolor": YELLOW, "markeredgewidth": 0.6, "linestyle": "none"}
NULL, REGION = {"linestyle": ":", "linewidth": 1.6}, {"color": SKY, "alpha": 0.35, "linewidth": 0}

Answers = Mapping[str, Mapping]  # verdicts by whose they are, with estimate, low, high; the run's own with its null
Row = tuple[Claim, Answers]


def forest(title: str, rows: Sequence[Row], here: str, models: Sequence[str], places: Sequence[str]) -> Figure:
    """A figure with a row for each claim: the run's number ``here``, those of other models and places, and the rule.

    A row without a number says so; the axis of each covers all that is drawn on it.
    """
    known = {name for _, answers in rows for name in answers}
    models, places = ([name for name in names if name in known] for names in (models, places))
    looks = {here: HERE} | dict.fromkeys(models, MODEL) | dict.fromkeys(places, PLACE)
    height = HEAD + ROW * len(rows)
    fig = Figure(figsize=(WIDTH, height), layout="none")
    for i, (claim, answers) in enumerate(rows):
        bottom = ROW * (len(rows) - 1 - i)
        if i % 2 == 0:
            fig.add_artist(Rectangle((0, bottom / height), 1, ROW / height, color="#F4F4F4", linewidth=0, zorder=-1))
        ax = fig.add_axes((LEFT / WIDTH, (bottom + 0.06 * ROW) / height, AXIS / WIDTH, 0.88 * ROW / height))
        _numbers(ax, claim, answers, looks, here)
        _words(ax, claim, answers.get(here))
    entries = [key(f"{here}, with 95 % interval", BLACK, **HERE), *(key(name, BLACK, **MODEL) for name in models)]
    if places:
        entries.append(key("replications", BLACK, **PLACE))
    if whose := {"pilot" if claim.known == "P" else "paper" for claim, _ in rows if claim.number is not None}:
        entries.append(key("'s or ".join(sorted(whose)) + "'s number", BLACK, **PAPER))
    if any(null_of(claim, answers.get(here)) is not None for claim, answers in rows):
        entries.append(key("null", GREY, **NULL))
    entries.append(Patch(**REGION, label="where the claim would hold (its rule)"))
    fig.text(0.08 / WIDTH, 1 - 0.2 / height, title, fontsize=11, va="center")
    fig.text(VERDICT / WIDTH, 1 - 0.2 / height, "shape: whose number; colour: its verdict", fontsize=SIZE, va="center")
    place = {"loc": "center left", "bbox_to_anchor": (0.08 / WIDTH, 1 - 0.45 / height), "borderaxespad": 0}
    space = {"columnspacing": 1.4, "handletextpad": 0.5, "frameon": False}
    fig.legend(handles=entries, ncols=len(entries), fontsize=SIZE + 0.5, **place, **space)
    return fig


def null_of(claim: Claim, verdict: Mapping | None) -> float | None:
    """What the run's null reached, where that is a place on the axis of the claim's number."""
    return None if verdict is None or claim.unit.startswith("difference of") else verdict["null"]


def ends(values: Iterable[float], limits: tuple[float, float]) -> tuple[float, float]:
    """Two round numbers with all values between them, and a little room, but none where the metric cannot be."""
    values = sorted(values)
    span = (values[-1] - values[0]) or 1.0
    digits = 1 - floor(log10(span))
    low = floor((values[0] - 0.06 * span) * 10**digits) / 10**digits
    high = ceil((values[-1] + 0.06 * span) * 10**digits) / 10**digits
    least, largest = (limits[0] if limits[0] <= values[0] else low), (limits[1] if limits[1] >= values[-1] else high)
    return max(low, least), min(high, largest)


def _numbers(ax: Axes, claim: Claim, answers: Answers, looks: Mapping[str, Mapping], here: str) -> None:
    """The axis of one claim, with a lane for the paper's number and one for each answer, the run's own on top."""
    ax.patch.set_visible(False)
    ax.spines[["left", "top", "right"]].set_visible(False)
    ax.set(xticks=[], yticks=[], ylim=(-0.6, len(looks) + 0.4))
    found = {name: answer for name, answer in answers.items() if answer["estimate"] is not None}
    ax.spines["bottom"].set(color=GREY, linewidth=0.8, visible=bool(found))
    if not found:
        return
    null = null_of(claim, answers.get(here))
    marks = [value for value in (claim.number, null) if value is not None]
    low, high = ends([*marks, *claim.rule.values(), *rows_of(found.values()).flat], claim.limits)
    ax.set_xlim(low, high)
    ax.axvspan(claim.rule.get("above", low), claim.rule.get("below", high), **REGION)
    for i, (name, look) in enumerate(looks.items()):
        if name in found:
            look = look | {"color": COLOURS.get(found[name]["verdict"], GREY), "clip_on": False}
            draw_intervals(ax, [len(looks) - 1 - i], rows_of([found[name]]), across=True, capsize=0, **look)
    if claim.number is not None:
        ax.plot(claim.number, len(looks) - 0.05, color=BLACK, clip_on=False, **PAPER)
    if null is not None:
        ax.axvline(null, color=GREY, clip_on=False, **NULL)
    for end, at, side in ((low, -0.02, "right"), (high, 1.02, "left")):
        ax.text(at, 0.04, f"{end:zg}", transform=ax.transAxes, fontsize=SIZE - 0.5, color="#555555", ha=side)


def _words(ax: Axes, claim: Claim, verdict: Mapping | None) -> None:
    """What is claimed, left of a row's axis; right of it the verdict, the rule, and the number with its unit."""
    answer = NOT_RUN if verdict is None else verdict["verdict"]
    number = "" if verdict is None or verdict["estimate"] is None else f"{verdict['estimate']:z.3f} "
    word = short(NOT_JUDGED if answer.startswith(NOT_JUDGED) else answer)
    lines = textwrap.wrap(claim.text, CHARACTERS)
    if len(lines) > 2:  # the table below has the rest
        lines = textwrap.wrap(re.split(r": | \(", claim.text)[0] + " …", CHARACTERS, max_lines=2, placeholder=" …")
    above, below = claim.rule.get("above"), claim.rule.get("below")
    rule = in_words(claim.rule) if above is None or below is None else f"{above:g} to {below:g}"
    for inches, y, text, look in (
        (0.08, 0.5, claim.id, {"weight": "bold"}),
        (CLAIM, 0.5, "\n".join(lines), {"linespacing": 1.1}),
        (VERDICT, 0.74, word, {"color": COLOURS.get(answer, GREY), "weight": "bold"}),
        (RULE, 0.74, f"rule: {rule}", {"color": "#555555"}),
        (VERDICT, 0.26, number + claim.unit, {}),
    ):
        at = (inches - LEFT) / AXIS
        ax.text(at, y, text, transform=ax.transAxes, fontsize=SIZE, va="center", **look)
