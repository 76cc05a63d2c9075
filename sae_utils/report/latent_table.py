"""An HTML table of latents with the text on which they fire most: for a notebook, light or dark, and for a static page.

Only inline styles and no script, and colours that let the page's own text colour and background through. Where a
viewer strips styles, the token of the strongest firing is still in bold.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float, Int

from sae_utils.analysis.latents.contexts import Contexts
from sae_utils.errors import InputError

# Printable to Python, and yet not seen: ignorable by default in Unicode (DerivedCoreProperties.txt).
IGNORABLE = re.compile(r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")
HIGHLIGHT = "230, 159, 0"  # figures.style.ORANGE
STRONGEST = 0.5  # opacity of the largest activation: text stays readable on it in light and in dark
PART = "·"  # stands where a latent fires on a token that has no text
CELL = "text-align: left; vertical-align: top; padding: 4px 8px;"
CODE = "white-space: pre-wrap; overflow-wrap: break-word; background: transparent; color: inherit; padding: 0px;"

TextsOf = Callable[[Int[np.ndarray, " w"]], Sequence[str]]


@dataclass(frozen=True)
class Row:
    """A latent of the table: its number among those that the contexts were chosen for, and what is said of it."""

    latent: int
    facts: Mapping[str, str]  # name: text


def context_table(rows: Sequence[Row], contexts: Contexts, texts_of: TextsOf) -> str:
    """A table with a row for each latent: facts, then its top contexts with the tokens shaded by activation.

    ``texts_of`` gives the texts of a row of token ids (``TokenTexts.in_row``). All text is escaped. Raises
    InputError for no rows.
    """
    if not rows:
        raise InputError("a table of latents needs at least one row")
    head = "".join(
        f'<th style="{CELL} width: {width};">{name}</th>'
        for name, width in (("latent", "30%"), ("where it fires most", "70%"))
    )
    body = "".join(_row(row, contexts, texts_of) for row in rows)
    return f'<table style="width: 100%;"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _row(row: Row, contexts: Contexts, texts_of: TextsOf) -> str:
    chosen = np.flatnonzero((contexts.latent == row.latent) & (contexts.group == 0))
    largest = float(contexts.values[chosen].max(initial=0.0))
    lines = [
        context_line(texts_of(contexts.tokens[i]), contexts.values[i], int(contexts.peak[i]), largest) for i in chosen
    ]
    facts = [f"<div>{escape(name)}: {escape(text)}</div>" for name, text in row.facts.items()]
    return "<tr>" + "".join(f'<td style="{CELL}">{"".join(cell)}</td>' for cell in (facts, lines)) + "</tr>"


def context_line(texts: Sequence[str], values: Float[np.ndarray, " w"], peak: int, largest: float) -> str:
    """One window of text: each token on which the latent fires is shaded in proportion to activation / ``largest``.

    Of the tokens of one character only the last has text (``TokenTexts``): PART stands for another that it fires on.
    """
    spans = []
    for place, (text, value) in enumerate(zip(texts, values, strict=True)):
        text = escape(visible(text or (PART if value > 0 else "")))
        if place == peak:
            text = f"<b>{text}</b>"
        if value > 0:
            opacity = STRONGEST * min(1.0, value / largest)
            style = f"background-color: rgba({HIGHLIGHT}, {opacity:.2f}); color: inherit;"
            text = f'<span title="{value:.2f}" style="{style}">{text}</span>'
        spans.append(text)
    return f'<div style="padding: 2px 0px;"><code style="{CODE}">{"".join(spans)}</code></div>'


def visible(text: str) -> str:
    """Text with signs for line ends and tabs, and escapes for what cannot be seen or would turn the text around."""
    signs = {"\n": "↵", "\t": "⇥"}

    def shown(c: str) -> str:
        seen = c.isprintable() and not IGNORABLE.match(c)
        return c if seen else c.encode("unicode_escape").decode()

    return "".join(signs.get(c) or shown(c) for c in text)


def rule_words(label: str, values: Sequence[str], shown: int = 5) -> str:
    """A rule about tokens in words; of more than ``shown`` values, how many are left out."""
    if not len(values):
        return "none"
    quoted = ", ".join(f"“{visible(value)}”" for value in values[:shown])
    return f"{label} is {quoted}" + (f" or {len(values) - shown} more" if len(values) > shown else "")
