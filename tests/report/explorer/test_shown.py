"""What the explorer shows, opened from a file, without a network, in Chromium: the numbers of the results file."""

import numpy as np
import pytest
from helpers.browser import numbers
from helpers.explorer_results import HOSTILE, N_OTHERS, PLANTED, PLANTED_AT, made_up

from sae_utils.analysis.latents.pages import lay_out, to_arrays

OPENS_WITHIN = 5  # seconds of processor time, which a busy machine does not change, with 50,000 latents


def shown_as(values, digits):
    """Numbers that read as these, rounded to so many digits after the point."""
    return pytest.approx(np.asarray(values, dtype=np.float32).astype(float), abs=0.5 * 10**-digits + 1e-6)


def as_percent(values):
    """Three digits in all."""
    return pytest.approx(100 * np.asarray(values, dtype=np.float32).astype(float), rel=0.5e-2)


def test_it_is_ready_with_the_right_counts(tab, arrays):
    t = tab()
    assert t.page.locator("html").get_attribute("data-ready") == "40"
    assert t.page.title() == "40 latents · made <b>up</b> blocks.0.hook_mlp_out"
    assert t.texts(".tabs button") == ["40 latents", "6 meta-latents"]
    told = dict(zip(t.texts(".told dt"), t.texts(".told dd"), strict=True))
    alive = arrays["firings_frequency"] > 0
    assert (told["Latents"], told["Dead"], told["Meta-latents"]) == ("40", "1", "6")
    assert told["Novel beside 20 latents"] == str((arrays["novelty_novel"] & alive).sum())
    shared = np.bincount(arrays["partners_shared_with"][alive], minlength=N_OTHERS + 1)
    assert t.numbers(title="In how many other seeds") == shared.tolist()


@pytest.mark.parametrize("i", [0, 10, 31])
def test_every_number_of_a_latent_is_the_results_file_s(i, tab, arrays):
    t = tab(f"#/latent/{i}")
    t.wait_for_heading(f"Latent {i}")
    firing, *rest = t.numbers(".statistics dd")
    assert firing == as_percent(arrays["firings_frequency"][i])
    assert rest[:2] == shown_as([arrays["firings_mean"][i], arrays["firings_maximum"][i]], 2)
    assert rest[2] == (arrays["composition_latent"][i] >= 0).sum()
    assert t.numbers(title="Its activation by token") == as_percent(arrays["firings_token_share"][i])
    logits = np.concatenate([arrays["promotes_raised_logit"][i], arrays["promotes_lowered_logit"][i]])
    assert t.numbers(title="Next tokens that it promotes") == shown_as(logits, 2)
    assert t.numbers(title="Nearest latents") == shown_as(arrays["neighbours_cosine"][i], 3)
    assert t.indices(".index", "Nearest latents") == list(arrays["neighbours_latent"][i])
    cosines = arrays["partners_decoder_cosine"][i], arrays["partners_encoder_cosine"][i]
    assert t.numbers(title="Partner in seed 1") == shown_as(cosines, 3)
    partners = [arrays[f"partners_{side}_latent"][i] for side in ("decoder", "encoder")]
    assert t.indices("td:nth-child(2)", "Partner in seed 1") == partners
    assert t.numbers(title="Fires together with") == shown_as(arrays["together_correlation"][i], 3)
    assert t.indices(".index", "Fires together with") == list(arrays["together_latent"][i])
    change, cosine = t.numbers(title="Beside the dictionary of 20 latents")
    assert change == as_percent(arrays["novelty_mse_change"][i])
    assert cosine == shown_as(arrays["novelty_cosine"][i], 3)
    used = arrays["composition_latent"][i] >= 0
    assert t.numbers(title="Made of meta-latents") == shown_as(arrays["composition_weight"][i][used], 3)
    bars = [text.partition(": ")[2] for text in t.tips(".column")]
    assert numbers(bars) == arrays["firings_histogram"][i].tolist()

    of = np.flatnonzero(arrays["contexts_latent"] == i)
    values = arrays["contexts_values"][of]
    shown = [text.rpartition("activation ")[2] for text in t.tips(".body .active")]
    assert numbers(shown) == shown_as(values[values != 0], 2)
    assert t.numbers(".context .strength", "Where it fires") == shown_as(values[:, 5], 2)
    assert t.indices(".copies", "Where it fires") == [n for n in arrays["contexts_copies"][of] if n > 1]


def test_every_number_of_a_meta_latent_is_the_results_file_s_and_where_its_latents_fire(tab, arrays):
    t = tab("#/meta/2")
    using, at = np.nonzero(arrays["composition_latent"] == 2)
    weights = arrays["composition_weight"][using, at]
    order = np.lexsort((using, -weights))
    assert t.numbers(".statistics dd") == [len(using), as_percent(len(using) / 40), shown_as(weights.max(), 3)]
    assert t.indices(".index", "Latents that are made of it") == using[order].tolist()
    assert t.numbers(title="Latents that are made of it") == shown_as(weights[order], 3)
    logits = np.concatenate([arrays["meta_raised_logit"][2], arrays["meta_lowered_logit"][2]])
    assert t.numbers(title="Next tokens that it promotes") == shown_as(logits, 2)
    first = [i for i in using[order][:8] if arrays["firings_frequency"][i] > 0]
    assert t.indices(".index", "Where those latents fire") == first
    strongest = [np.flatnonzero(arrays["contexts_latent"] == i)[0] for i in first]
    values = arrays["contexts_values"][strongest, 5]
    assert t.numbers(".context .strength", "Where those latents fire") == shown_as(values, 2)


def test_hostile_tokens_are_text(tab):
    t = tab()
    expected = {0: HOSTILE[0].replace(" ", "␣"), 1: HOSTILE[1], 2: r"a\u2028b", 4: "{{data}}"}
    expected |= {5: "&lt;b&gt;", 6: "↵↵", 7: r"planted_token"}
    for i, text in expected.items():
        t.open_latent(i)
        assert t.panel("Its activation by token").locator(".token").first.text_content() == text
    t.open("#/latent/0?q=%3Cimg%20src%3Dx%20onerror")
    t.press("b")
    everything = "".join(t.page.locator(".context").all_text_contents())
    assert HOSTILE[0] in everything
    assert HOSTILE[1] in everything
    assert t.page.locator("main img, aside img, main script, aside script, main b").count() == 0
    assert "owned" not in t.page.title()


def test_bytes_of_a_character_come_together_in_a_context_and_are_named_alone(tab):
    arrays = made_up()
    i = int(arrays["contexts_latent"][0])
    pieces = [b" Girvan", b"\xe2", b"\x80", b"\x93", b"Newman"]  # of sentencepiece; GPT-2's have several bytes, too
    arrays |= to_arrays({"vocabulary": lay_out([*pieces, *(b"word%d" % n for n in range(5, 300))])})
    arrays["contexts_tokens"][0, :5] = np.arange(5)
    arrays["contexts_values"][0, :5] = [0, 1, 0, 0.5, 0]
    arrays["firings_token"][i, :3] = [0, 1, 3]
    t = tab(f"#/latent/{i}", arrays)
    assert t.texts(".context .t")[:5] == [" Girvan", "·", "", "–", "Newman"]
    assert t.tips(".context .active")[:2] == ["<0xE2> · activation 1.00", "– · activation 0.50"]
    named = t.panel("Its activation by token").locator(".token").all_text_contents()
    assert named[:3] == ["␣Girvan", "<0xE2>", "<0x93>"]


def test_characters_that_are_not_seen_are_shown_by_their_code(tab):
    points = [0x00, 0x85, 0xAD, 0x34F, 0x61C, 0x115F, 0x180E, 0x200B, 0x2028, 0x2029, 0x202E, 0x2066, 0x3164, 0xFE00]
    points += [0xFE0F, 0xFEFF, 0xFFA0, 0xE0000, 0xE0041, 0xE007F]
    page = tab().page
    shown = page.evaluate("texts => texts.map(visible)", [f"a{chr(point)}b" for point in points])
    assert shown == [f"a\\u{point:04x}b" if point < 0x10000 else f"a\\u{{{point:x}}}b" for point in points]
    seen = "a é ñ 中 한 😀 e\u0301 \ufffd"
    assert page.evaluate("visible", seen) == seen


def test_a_dead_latent_has_a_page_and_one_without_an_explanation(tab):
    t = tab("#/latent/4")
    assert "fires on too few tokens" in t.page.locator("main > .explanation").inner_text()
    t.open_latent(3)
    assert t.texts(".badge") == ["dead"]
    assert t.page.locator(".context").count() == 0
    said = t.page.locator("main").inner_text()
    assert "Nowhere" in said and "the other dictionary has no latent left for it, or it is dead" in said


def test_a_latent_that_a_matching_leaves_out_has_a_page(tab):
    """Where the other dictionary has fewer alive latents, an alive one may have a partner by one matching, or none."""
    arrays = made_up()
    arrays["partners_decoder_latent"][[5, 6]] = arrays["partners_encoder_latent"][5] = -1
    arrays["partners_strict"][[5, 6]] = False
    t = tab("#/latent/5", arrays)
    assert "no latent left for it" in t.panel("Partner in seed 1").inner_text()
    t.open_latent(6)
    assert "one matching has no partner for it" in t.panel("Partner in seed 1").inner_text()
    sides = ["none", f"#{arrays['partners_encoder_latent'][6]}"]
    assert t.texts("td:nth-child(2)", "Partner in seed 1") == sides


def test_fifty_thousand_latents_open_and_can_be_searched(tab):
    t = tab(arrays=made_up(n=50_000, n_meta=2_000, n_contexts=2, n_vocab=50_000))
    session = t.context.new_cdp_session(t.page)
    session.send("Performance.enable")
    spent = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    assert 0 < spent["ProcessTime"] < OPENS_WITHIN
    assert t.page.locator(".count", has_text=" of 50,000 latents").count() == 1
    assert t.page.locator(".row").count() < 60
    t.search(PLANTED)
    t.wait_for_count("1 of 50,000 latents")
    assert t.indices() == [PLANTED_AT]
    t.open_latent(49999)
