"""How a reader moves about the explorer, opened from a file, without a network, in Chromium; and whether all can."""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.explorer_results import FACTS, HOSTILE, PLANTED, PLANTED_AT

from sae_utils.report.explorer import explorer

CONTRAST = Path(__file__).with_name("contrast.js").read_text()
NAMELESS = """() => [...document.querySelectorAll("button, a, input, select, [role=img]")].filter((node) =>
    !(node.textContent.trim() || node.getAttribute("aria-label"))).map((node) => node.outerHTML)"""


def test_search_finds_a_planted_token_and_an_index(tab):
    t = tab()
    t.search(PLANTED[:9].upper())
    t.wait_for_count("1 of 40 latents")
    assert t.indices() == [PLANTED_AT]
    t.press("ArrowDown", "Enter")
    t.wait_for_heading(f"Latent {PLANTED_AT}")
    t.press("/", "Escape")
    t.wait_for_count("40 latents")
    t.page.keyboard.type("#12")
    t.wait_for("document.querySelector('.row .index').textContent === '#12'")


def test_what_fires_on_a_token_comes_before_what_raises_it(tab, arrays):
    token = int(arrays["firings_token"][20, 1])
    word = f"word{token - len(HOSTILE) - 1}"
    t = tab(f"#/?q=%22{word}%22&sort=frequency")
    names = ("firings_token", "rules_token", "promotes_raised")
    fires, explained, raises = ((arrays[name] == token).any(1) for name in names)
    order = np.lexsort((-arrays["firings_frequency"], ~explained, ~fires))
    assert t.indices() == [i for i in order if fires[i] or explained[i] or raises[i]]
    hits = t.texts(".row .hit")
    assert set(hits) == {f"␣{word}"} and len(hits) >= len(t.indices())


def test_the_list_is_sorted(tab, arrays):
    t = tab(viewport={"width": 1400, "height": 4000})
    keys = {
        "score": arrays["rules_score"],
        "decoder": arrays["partners_decoder_cosine"],
        "encoder": arrays["partners_encoder_cosine"],
        "frequency": arrays["firings_frequency"],
        "shared": arrays["partners_shared_with"],
        "meta": (arrays["composition_latent"] >= 0).sum(1),
        "maximum": arrays["firings_maximum"],
        "index": -np.arange(40),
    }
    for sort, key in keys.items():
        for order, sign in (("down", -1), ("up", 1)):
            t.open(f"#/?sort={sort}&order={order}&show=all")
            wanted = np.lexsort((range(40), sign * np.nan_to_num(key), np.isnan(key)))
            assert t.indices() == wanted.tolist(), (sort, order)


def test_deep_link_and_back_button(tab):
    t = tab("#/latent/12")
    t.wait_for_heading("Latent 12")
    assert "Latent 12" in t.page.title()
    t.panel("Nearest latents").locator("a").first.click()
    t.wait_for_heading("Latent 13")
    t.page.locator(".row").first.click()
    t.wait_for("!location.hash.includes('/13')")
    t.page.go_back()
    t.wait_for_heading("Latent 13")
    t.page.go_back()
    t.wait_for_heading("Latent 12")
    t.page.go_forward()
    t.wait_for_heading("Latent 13")


def test_an_address_that_leads_nowhere_says_so_and_asks_for_no_order_that_is_not_there(tab, arrays):
    t = tab("#/latent/40")
    assert t.heading() == "Not here"
    assert "latents 0 to 39 and meta-latents 0 to 5" in t.page.locator("main").inner_text()
    t.open("#/<img src=x onerror=alert(1)>")
    assert t.heading() in ("Not here", "The dictionary")
    t.open("#/?sort=toString&show=constructor")  # names that every object inherits are no orders and no filters
    assert t.page.locator("select").evaluate_all("all => all.map((each) => each.value)") == ["score", "worth"]
    rows = t.indices()
    assert rows == sorted(rows, key=lambda i: -arrays["rules_score"][i])


def test_keys(tab):
    t = tab("#/latent/5?sort=index&show=all")
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
    assert t.panel("Where it fires").locator(".context.full").count() == 3
    t.press("Escape")
    t.wait_for_heading("The dictionary")


def test_values_show_on_hover_and_on_focus_by_the_arrows(tab, arrays):
    t = tab("#/latent/10")
    tip, peak = t.page.locator(".tip"), t.page.locator(".context .peak").first
    values = np.float32(arrays["contexts_values"][np.flatnonzero(arrays["contexts_latent"] == 10)[0]])
    peak.hover()
    assert tip.is_visible()
    assert tip.inner_text().endswith(f"activation {values[5]:.2f}")
    peak.focus()
    t.press("ArrowRight")
    later = values[6:][values[6:] != 0]
    assert tip.inner_text().endswith(f"activation {later[0]:.2f}")
    assert t.heading() == "Latent 10"


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
def test_text_stands_out_from_its_ground_and_everything_that_acts_has_a_name(scheme, tab):
    """Contrast of at least 4.5 (WCAG 2.1, 1.4.3) of all text with the colour behind it, shaded tokens included."""
    t = tab(color_scheme=scheme)
    for route in ("#/latent/10?q=word1", "#/latent/3?show=dead", "#/meta/1", "#/about"):
        t.open(route)
        assert t.page.evaluate(CONTRAST) == t.page.evaluate(NAMELESS) == [], route
        assert t.page.locator("h1").count() == 1


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
    count, search = frame.locator(".count"), frame.locator("input[type=search]")
    search.fill(PLANTED)
    count.filter(has_text=" of ").wait_for(timeout=5000)
    assert count.inner_text() == "1 of 40 latents"
    search.fill("")
    frame.locator("select").nth(1).select_option("dead")
    count.filter(has_text="1 of 40 latents").wait_for(timeout=5000)
    frame.locator(".tabs button").nth(1).click()
    count.filter(has_text="6 meta-latents").wait_for(timeout=5000)
    assert page.title() == "notebook"
    assert faults == []
    page.close()
