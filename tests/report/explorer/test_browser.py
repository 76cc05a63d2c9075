"""The explorer as a reader has it: opened from a file, without a network, in Chromium."""

import re
import time

import numpy as np
import pytest
from helpers.browser import chromium
from helpers.explorer_results import FACTS, HOSTILE, N_OTHERS, PLANTED, PLANTED_AT, made_up

from sae_utils.report.explorer.document import explorer

OPENS_WITHIN = 5  # seconds of processor time, which a busy machine does not change, with 50,000 latents


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def arrays():
    return made_up()


@pytest.fixture(scope="module")
def path(arrays, tmp_path_factory):
    return explorer({"facts": FACTS}, arrays).write(tmp_path_factory.mktemp("explorer") / "explorer.html")


class Tab:
    """A page, and all that it asked for or complained of; its questions fail if it did either."""

    def __init__(self, browser, path, route="", **settings):
        self.context = browser.new_context(**({"viewport": {"width": 1400, "height": 900}, "offline": True} | settings))
        self.page, self.faults, self.url = self.context.new_page(), [], path.as_uri()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("request", lambda request: request.url.startswith(self.url) or self.faults.append(request.url))
        self.page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        self.open(route)

    def open(self, route):
        self.page.goto(self.url + route)
        self.page.wait_for_selector("html[data-ready]", timeout=30_000)

    def heading(self):
        return self.page.locator("h1").inner_text()

    def wait_for_heading(self, text):
        self.page.locator("h1", has_text=re.compile(f"^{text}$")).wait_for(timeout=5000)

    def listed(self):
        """Indices of the rows in sight, from the top."""
        rows = self.page.locator(".row .index").all_inner_texts()
        return [int(text[1:]) for text in rows]

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def wait_for(self, condition):
        """Asks again and again: the page's policy forbids what Playwright's own wait_for_function does."""
        until = time.monotonic() + 5
        while not self.page.evaluate(condition):
            assert time.monotonic() < until, condition
            self.page.wait_for_timeout(20)

    def close(self):
        self.context.close()
        assert self.faults == []


@pytest.fixture
def tab(browser, path):
    opened = []

    def open_tab(route="", file=path, **settings):
        opened.append(Tab(browser, file, route, **settings))
        return opened[-1]

    yield open_tab
    for each in opened:
        each.close()


def numbers(texts):
    return [float(text.replace("−", "-").replace(",", "").removesuffix("%").strip()) for text in texts]


def shown_as(values, digits):
    """Numbers that read as these, rounded to so many digits after the point."""
    return pytest.approx(np.asarray(values, dtype=np.float32).astype(float), abs=0.5 * 10**-digits + 1e-6)


def as_percent(values):
    """Three digits in all."""
    return pytest.approx(100 * np.asarray(values, dtype=np.float32).astype(float), rel=0.5e-2)


def panel(page, title):
    return page.locator("section.panel", has=page.locator("h2", has_text=re.compile(f"^{title}$")))


def test_it_is_ready_with_the_right_counts(tab, arrays):
    page = tab().page
    assert page.locator("html").get_attribute("data-ready") == "40"
    assert page.title() == "40 latents · made <b>up</b> blocks.0.hook_mlp_out"
    assert page.locator(".tabs button").all_inner_texts() == ["40 latents", "6 meta-latents"]
    told = dict(
        zip(page.locator(".told dt").all_inner_texts(), page.locator(".told dd").all_inner_texts(), strict=True)
    )
    alive = arrays["firings_frequency"] > 0
    assert (told["Latents"], told["Dead"], told["Meta-latents"]) == ("40", "1", "6")
    assert told["Novel beside 20 latents"] == str((arrays["novelty_novel"] & alive).sum())
    shared = np.bincount(arrays["partners_shared_with"][alive], minlength=N_OTHERS + 1)
    assert numbers(panel(page, "In how many other seeds").locator(".number").all_inner_texts()) == shared.tolist()


def test_search_finds_a_planted_token_and_an_index(tab):
    t = tab()
    t.press("/")
    t.page.keyboard.type(PLANTED[:9].upper())
    t.page.locator(".count", has_text="1 of 40 latents").wait_for(timeout=5000)
    assert t.listed() == [PLANTED_AT]
    t.press("ArrowDown", "Enter")
    t.wait_for_heading(f"Latent {PLANTED_AT}")
    t.press("/", "Escape")
    t.page.locator(".count", has_text="40 latents").wait_for(timeout=5000)
    t.page.keyboard.type("#12")
    t.wait_for("document.querySelector('.row .index').textContent === '#12'")


def test_what_fires_on_a_token_comes_before_what_raises_it(tab, arrays):
    token = int(arrays["firings_token"][20, 1])
    word = f"word{token - len(HOSTILE) - 1}"
    t = tab(f"#/?q=%22{word}%22")
    rows = t.listed()
    fires, raises = ((arrays[name] == token).any(1) for name in ("firings_token", "promotes_raised"))
    expected = sorted(np.flatnonzero(fires | raises), key=lambda i: (not fires[i], -arrays["firings_frequency"][i]))
    assert rows == expected
    hits = t.page.locator(".row .hit").all_inner_texts()
    assert hits == [f"␣{word}"] * len(expected)


@pytest.mark.parametrize("order", ["down", "up"])
@pytest.mark.parametrize("sort", ["frequency", "shared", "meta", "maximum", "index"])
def test_the_list_is_sorted(sort, order, tab, arrays):
    key = {
        "frequency": arrays["firings_frequency"],
        "shared": arrays["partners_shared_with"],
        "meta": (arrays["composition_latent"] >= 0).sum(1),
        "maximum": arrays["firings_maximum"],
        "index": -np.arange(40),
    }[sort]
    rows = tab(f"#/?sort={sort}&order={order}", viewport={"width": 1400, "height": 3000}).listed()
    sign = -1 if order == "down" else 1
    assert rows == sorted(range(40), key=lambda i: (sign * key[i], i))


def test_deep_link_and_back_button(tab):
    t = tab("#/latent/12")
    t.wait_for_heading("Latent 12")
    assert "Latent 12" in t.page.title()
    t.page.locator(".panel", has_text="Nearest latents").locator("a").first.click()
    t.wait_for_heading("Latent 13")
    t.page.locator(".row").first.click()
    t.wait_for("!location.hash.includes('/13')")
    t.page.go_back()
    t.wait_for_heading("Latent 13")
    t.page.go_back()
    t.wait_for_heading("Latent 12")
    t.page.go_forward()
    t.wait_for_heading("Latent 13")


def test_an_address_that_leads_nowhere_says_so(tab):
    t = tab("#/latent/40")
    assert t.heading() == "Not here"
    assert "latents 0 to 39" in t.page.locator("main").inner_text()
    t.open("#/<img src=x onerror=alert(1)>")
    assert t.heading() in ("Not here", "The dictionary")


def test_an_address_asks_for_no_order_that_is_not_there(tab, arrays):
    """Names that every object inherits are no orders and no filters."""
    t = tab("#/?sort=toString&show=constructor")
    assert t.page.locator(".count").inner_text() == "40 latents"
    assert t.page.locator("select").evaluate_all("all => all.map((each) => each.value)") == ["frequency", "all"]
    rows = t.listed()
    assert rows == sorted(range(40), key=lambda i: -arrays["firings_frequency"][i])[: len(rows)]


def test_characters_that_are_not_seen_are_shown_by_their_code(tab):
    points = [0x00, 0x85, 0xAD, 0x34F, 0x61C, 0x115F, 0x180E, 0x200B, 0x2028, 0x2029, 0x202E, 0x2066, 0x3164, 0xFE00]
    points += [0xFE0F, 0xFEFF, 0xFFA0, 0xE0000, 0xE0041, 0xE007F]
    page = tab().page
    shown = page.evaluate("texts => texts.map(visible)", [f"a{chr(point)}b" for point in points])
    assert shown == [f"a\\u{point:04x}b" if point < 0x10000 else f"a\\u{{{point:x}}}b" for point in points]
    seen = "a é ñ 中 한 😀 e\u0301 \ufffd"
    assert page.evaluate("visible", seen) == seen


def test_keys(tab):
    t = tab("#/latent/5?sort=index")
    t.wait_for_heading("Latent 5")
    t.press("ArrowRight")
    t.wait_for_heading("Latent 6")
    t.press("ArrowLeft", "ArrowLeft")
    t.wait_for_heading("Latent 4")
    t.press("?")
    assert t.page.locator("dialog").is_visible()
    t.press("Escape")
    assert not t.page.locator("dialog").is_visible()
    t.wait_for_heading("Latent 4")
    t.press("t")
    assert t.page.evaluate("document.documentElement.style.colorScheme") == "dark"
    t.press("b")
    assert t.page.locator(".context.full").count() == 3
    t.press("Escape")
    t.wait_for_heading("The dictionary")


def test_values_show_on_hover_and_on_focus_by_the_arrows(tab, arrays):
    page = (t := tab("#/latent/10")).page
    tip = page.locator(".tip")
    first = np.flatnonzero(arrays["contexts_latent"] == 10)[0]
    peak = page.locator(".context .peak").first
    peak.hover()
    value = f"{np.float32(arrays['contexts_values'][first, 5]):.2f}"
    assert tip.is_visible()
    assert tip.inner_text().endswith(f"activation {value}")
    peak.focus()
    t.press("ArrowRight")
    later = [v for v in arrays["contexts_values"][first, 6:] if v]
    assert tip.inner_text().endswith(f"activation {np.float32(later[0]):.2f}")
    assert t.heading() == "Latent 10"


def test_every_number_of_a_latent_is_the_results_file_s(tab, arrays):
    t = tab()
    for i in (0, 10, 31):
        t.open(f"#/latent/{i}")
        t.wait_for_heading(f"Latent {i}")
        page = t.page

        def read(title, which=".number"):
            return numbers(panel(page, title).locator(which).all_inner_texts())  # noqa: B023

        firing, *rest = numbers(page.locator(".statistics dd").all_inner_texts())
        assert firing == as_percent(arrays["firings_frequency"][i])
        assert rest[:2] == shown_as([arrays["firings_mean"][i], arrays["firings_maximum"][i]], 2)
        assert rest[2] == (arrays["composition_latent"][i] >= 0).sum()
        assert read("Fires on") == as_percent(arrays["firings_token_share"][i])
        logits = np.concatenate([arrays["promotes_raised_logit"][i], arrays["promotes_lowered_logit"][i]])
        assert read("Next tokens that it promotes") == shown_as(logits, 2)
        assert read("Nearest latents") == shown_as(arrays["neighbours_cosine"][i], 3)
        assert [int(text[1:]) for text in panel(page, "Nearest latents").locator(".index").all_inner_texts()] == list(
            arrays["neighbours_latent"][i]
        )
        cosines = arrays["partners_decoder_cosine"][i], arrays["partners_encoder_cosine"][i]
        assert read("Partner in seed 1") == shown_as(cosines, 3)
        sides = panel(page, "Partner in seed 1").locator("td:nth-child(2)").all_inner_texts()
        assert sides == [f"#{arrays[f'partners_{side}_latent'][i]}" for side in ("decoder", "encoder")]
        change, cosine = read("Beside the dictionary of 20 latents")
        assert change == as_percent(arrays["novelty_mse_change"][i])
        assert cosine == shown_as(arrays["novelty_cosine"][i], 3)
        used = arrays["composition_latent"][i] >= 0
        assert read("Made of meta-latents") == shown_as(arrays["composition_weight"][i][used], 3)
        bars = page.locator(".column").evaluate_all("all => all.map((bar) => bar.dataset.tip.split(': ')[1])")
        assert numbers(bars) == arrays["firings_histogram"][i].tolist()
        check_contexts(page, arrays, i)


def check_contexts(page, arrays, i):
    of = np.flatnonzero(arrays["contexts_latent"] == i)
    values = arrays["contexts_values"][of]
    shown = page.locator(".context .active").evaluate_all("all => all.map((token) => token.dataset.tip)")
    assert numbers(text.rpartition("activation ")[2] for text in shown) == shown_as(values[values != 0], 2)
    assert numbers(page.locator(".context .strength").all_inner_texts()) == shown_as(values[:, 5], 2)
    copies = [text[1:] for text in page.locator(".copies").all_inner_texts()]
    assert numbers(copies) == [n for n in arrays["contexts_copies"][of] if n > 1]


def test_every_number_of_a_meta_latent_is_the_results_file_s(tab, arrays):
    page = tab("#/meta/2").page
    using, at = np.nonzero(arrays["composition_latent"] == 2)
    weights = arrays["composition_weight"][using, at]
    order = np.lexsort((using, -weights))
    statistics = numbers(page.locator(".statistics dd").all_inner_texts())
    assert statistics == [len(using), as_percent(len(using) / 40), shown_as(weights.max(), 3)]
    users = panel(page, "Latents that are made of it")
    assert [int(text[1:]) for text in users.locator(".index").all_inner_texts()] == using[order].tolist()
    assert numbers(users.locator(".number").all_inner_texts()) == shown_as(weights[order], 3)
    logits = np.concatenate([arrays["meta_raised_logit"][2], arrays["meta_lowered_logit"][2]])
    assert numbers(panel(page, "Next tokens that it promotes").locator(".number").all_inner_texts()) == shown_as(
        logits, 2
    )


def test_hostile_tokens_are_text(tab):
    t = tab()
    expected = {0: HOSTILE[0].replace(" ", "␣"), 1: HOSTILE[1], 2: r"a\u2028b", 3: r"\u202eabc", 4: "{{data}}"}
    expected |= {5: "&lt;b&gt;", 6: "↵↵", 7: r"planted_token"}
    for i, text in expected.items():
        t.open(f"#/latent/{i}")
        t.wait_for_heading(f"Latent {i}")
        if i == 3:
            assert "Nowhere" in t.page.locator("main").inner_text()
            continue
        assert panel(t.page, "Fires on").locator(".token").first.text_content() == text
    t.open("#/latent/0?q=%3Cimg%20src%3Dx%20onerror")
    t.press("b")
    everything = "".join(t.page.locator(".context").all_text_contents())
    assert HOSTILE[0] in everything
    assert HOSTILE[1] in everything
    assert t.page.locator("main img, aside img, main script, aside script, main b").count() == 0
    assert "owned" not in t.page.title()


def test_a_dead_latent_has_a_page(tab):
    t = tab("#/latent/3")
    assert t.page.locator(".badge").all_inner_texts() == ["dead"]
    assert t.page.locator(".context").count() == 0
    assert "the other dictionary has no latent left for it, or it is dead" in t.page.locator("main").inner_text()


def test_a_latent_that_a_matching_leaves_out_has_a_page(tab, tmp_path):
    """Where the other dictionary has fewer alive latents, an alive one may have a partner by one matching, or none."""
    arrays = made_up()
    arrays["partners_decoder_latent"][[5, 6]] = arrays["partners_encoder_latent"][5] = -1
    arrays["partners_strict"][[5, 6]] = False
    t = tab("#/latent/5", explorer({"facts": FACTS}, arrays).write(tmp_path / "left.html"))
    assert "no latent left for it" in panel(t.page, "Partner in seed 1").inner_text()
    t.open("#/latent/6")
    t.wait_for_heading("Latent 6")
    partners = panel(t.page, "Partner in seed 1")
    assert "one matching has no partner for it" in partners.inner_text()
    assert partners.locator("td:nth-child(2)").all_inner_texts() == [
        "none",
        f"#{arrays['partners_encoder_latent'][6]}",
    ]


def test_without_the_optional_groups(tab, tmp_path):
    groups = ("partners", "novelty", "composition", "meta")
    few = {name: values for name, values in made_up().items() if name.partition("_")[0] not in groups}
    t = tab("#/latent/5", explorer({"facts": FACTS}, few).write(tmp_path / "few.html"))
    t.wait_for_heading("Latent 5")
    assert t.page.locator(".badge, .tabs button").count() == 0
    assert t.page.locator("option").all_inner_texts() == [
        "Frequency",
        "Largest activation",
        "Number",
        "All",
        "Alive",
        "Dead",
    ]
    t.open("#/meta/1?kind=meta&sort=shared")
    assert t.heading() == "Not here"


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_wider_than_the_screen(width, tab):
    t = tab(viewport={"width": width, "height": 800})
    for route in ("#/", "#/about", "#/latent/0", "#/meta/1", "#/latent/99"):
        t.open(route)
        t.page.wait_for_timeout(100)
        for where in ("document.documentElement", "document.querySelector('main')"):
            assert t.page.evaluate(f"{where}.scrollWidth <= {where}.clientWidth"), (route, where)


def test_a_narrow_screen_shows_the_list_or_the_page(tab):
    t = tab(viewport={"width": 400, "height": 800})
    assert t.page.locator("aside").is_visible()
    assert not t.page.locator("main").is_visible()
    t.page.locator(".row").first.click()
    t.page.locator("h1").wait_for(timeout=5000)
    assert not t.page.locator("aside").is_visible()
    t.page.locator(".back").click()
    t.page.locator("aside").wait_for(timeout=5000)
    t.page.locator(".row").first.click()
    t.press("/")
    t.wait_for("document.activeElement.type === 'search'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme, tab):
    """Contrast of at least 4.5 (WCAG 2.1, 1.4.3) of all text with the colour behind it, shaded tokens included."""
    t = tab(color_scheme=scheme)
    for route in ("#/latent/10?q=word1", "#/latent/3?show=dead", "#/meta/1", "#/about"):
        t.open(route)
        assert t.page.evaluate(CONTRAST) == [], route


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const c = rgb[i] / 255;
    return sum + weight * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  }, 0);
  const faults = [];
  for (const node of document.querySelectorAll("body *:not(script, noscript, option, dialog *)")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility()) continue;
    const behind = [];
    for (let at = node; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const a = light(over(behind)), b = light(over([...behind, getComputedStyle(node).color]));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faults.push(`${node.className} ${node.textContent.slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return faults;
}"""


def test_everything_that_acts_has_a_name(tab):
    t = tab("#/latent/10")
    nameless = """() => [...document.querySelectorAll("button, a, input, select, [role=img]")].filter((node) =>
        !(node.textContent.trim() || node.getAttribute("aria-label"))).map((node) => node.outerHTML)"""
    assert t.page.evaluate(nameless) == []
    assert t.page.locator("h1").count() == 1
    assert t.page.locator("html").get_attribute("lang") == "en"


def test_the_page_works_in_a_notebook_s_frame(browser, arrays, tmp_path):
    """The frame is sandboxed and its address is not a file's: links still lead from page to page."""
    path = tmp_path / "notebook.html"
    path.write_text(f"<!DOCTYPE html><title>notebook</title>{explorer({'facts': FACTS}, arrays)._repr_html_()}")
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    page.goto(path.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator("html[data-ready]").wait_for(timeout=10_000)
    frame.locator(".row").first.click()
    frame.locator("h1", has_text=re.compile(r"^Latent \d+$")).wait_for(timeout=5000)
    count = frame.locator(".count")
    frame.locator("input[type=search]").fill(PLANTED)
    count.filter(has_text=" of ").wait_for(timeout=5000)
    assert count.inner_text() == "1 of 40 latents"
    frame.locator("input[type=search]").fill("")
    frame.locator("select").nth(1).select_option("dead")
    count.filter(has_text="1 of 40 latents").wait_for(timeout=5000)
    frame.locator(".tabs button").nth(1).click()
    count.filter(has_text="6 meta-latents").wait_for(timeout=5000)
    assert page.title() == "notebook"
    assert faults == []
    page.close()


def test_fifty_thousand_latents_open_and_can_be_searched(tab, tmp_path):
    arrays = made_up(n=50_000, n_meta=2_000, n_contexts=2, n_vocab=50_000)
    path = explorer({"facts": FACTS}, arrays).write(tmp_path / "large.html")
    t = tab(file=path)
    session = t.context.new_cdp_session(t.page)
    session.send("Performance.enable")
    spent = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    assert 0 < spent["ProcessTime"] < OPENS_WITHIN
    assert t.page.locator(".count").inner_text() == "50,000 latents"
    assert t.page.locator(".row").count() < 60
    t.press("/")
    t.page.keyboard.type(PLANTED)
    t.page.locator(".count", has_text="1 of 50,000 latents").wait_for(timeout=10_000)
    assert t.listed() == [PLANTED_AT]
    t.open("#/latent/49999")
    t.wait_for_heading("Latent 49999")
