from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from sae_utils.analysis.latents.contexts import Contexts
from sae_utils.errors import InputError
from sae_utils.report.latent_table import STRONGEST, Row, context_table, rule_words, visible

TEXTS = ["</script>", "<img onerror=alert(1)>", "\n", "x", " &amp;", "\u202eabc", "\x00", "\t"]
CONTEXTS = Contexts(
    latent=np.array([0, 0, 0, 1]),
    group=np.array([0, 0, 1, 0]),
    tokens=np.array([[0, 1, 2], [3, 4, 5], [6, 6, 6], [7, 6, 3]]),
    values=np.array([[0.0, 2.0, 0.5], [1.0, 0.0, 0.0], [9.0, 0, 0], [0, 0, 4.0]]),
    peak=np.array([1, 0, 0, 2]),
    copies=np.array([1, 1, 1, 1]),
)


def texts_of(tokens):
    return [TEXTS[token] for token in tokens]


ROWS = [Row(0, {"group": "shared", "rule": "token is <b>"}), Row(1, {"group": "orphan", "rule": "role is name"})]


class Reader(HTMLParser):
    """What a browser would make of it: tags with attributes, and the text of each cell."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.cells, self.bold, self.shaded, self.open = [], [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open.append((tag, dict(attributes)))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.cells[-1] += data
        if self.open[-1][0] == "b":
            self.bold.append(data)
        style = next((a["style"] for tag, a in self.open if tag == "span"), "")
        if style:
            opacity = float(style.split("rgba(")[1].split(")")[0].split(",")[3])
            self.shaded.append((data, opacity))


def test_text_stays_text_whatever_it_holds():
    page = Reader(context_table(ROWS, CONTEXTS, texts_of))
    assert set(page.tags) == {"table", "thead", "tbody", "tr", "th", "td", "div", "code", "span", "b"}
    assert not page.open and page.tags.count("tr") == 3
    assert page.cells[:3] == ["latent", "where it fires most", "group: sharedrule: token is <b>"]
    assert page.cells[3] == "</script><img onerror=alert(1)>↵" + "x &amp;\\u202eabc"
    assert page.cells[4:] == ["group: orphanrule: role is name", "⇥\\x00x"]


def test_tokens_are_shaded_by_activation_and_the_peak_is_bold():
    page = Reader(context_table(ROWS, CONTEXTS, texts_of))
    expected = [("<img onerror=alert(1)>", STRONGEST), ("↵", STRONGEST / 4), ("x", STRONGEST / 2), ("x", STRONGEST)]
    assert [text for text, _ in page.shaded] == [text for text, _ in expected]
    assert [o for _, o in page.shaded] == pytest.approx([o for _, o in expected], abs=0.01)
    assert page.bold == ["<img onerror=alert(1)>", "x", "x"]


def test_a_token_without_text_is_seen_where_the_latent_fires_on_it():
    """All tokens of a character but the last have none."""
    page = Reader(context_table(ROWS[:1], CONTEXTS, lambda tokens: ["", "", "–"]))
    assert page.cells[3] == "·–·–" and page.bold == ["·", "·"]
    assert [text for text, _ in page.shaded] == ["·", "–", "·"]


def test_only_the_strongest_firings_of_the_latent_are_shown():
    page = context_table(ROWS[:1], replace(CONTEXTS, values=0 * CONTEXTS.values), texts_of)
    assert page.count("<code") == 2 and "span" not in page
    with pytest.raises(InputError, match="at least one row"):
        context_table([], CONTEXTS, texts_of)


def test_colours_leave_the_page_s_own_to_it():
    """No colour of text or page is set, so light and dark keep theirs; the shade is see-through."""
    page = context_table(ROWS, CONTEXTS, texts_of)
    for style in page.split('style="')[1:]:
        settings = dict(s.strip().split(": ") for s in style.split('"')[0].rstrip(";").split(";"))
        assert settings.get("color", "inherit") == "inherit"
        background = settings.get("background", settings.get("background-color", "transparent"))
        assert background == "transparent" or background.startswith("rgba(")
    assert "<script" not in page and "http" not in page and "class=" not in page


def test_visible_text():
    assert (
        visible("a\tb\n c") == "a⇥b↵ c"
        and visible("é€\ufffd") == "é€\ufffd"
        and visible("\x1b\u200f") == "\\x1b\\u200f"
        and visible("\u034f\u3164\ufe0f\U000e0041") == r"\u034f\u3164\ufe0f\U000e0041"
    )


def test_rules_in_words():
    assert rule_words("token", ["\n", " x"]) == "token is “↵”, “ x”"
    assert rule_words("role", list("abcd"), shown=3) == "role is “a”, “b”, “c” or 1 more"
    assert rule_words("token", []) == "none"
