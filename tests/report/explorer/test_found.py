"""How a reader finds latents: first view, explanations, partners, the scatter, how often they fire, lists as files."""

import csv
import json
from io import BytesIO

import numpy as np
import pytest
from helpers.explorer_results import EXPLAINED, EXPLAINED_AT, HOSTILE, N_OTHERS, PLANTED, PLANTED_AT, ROLE_AT, made_up
from PIL import Image

PARTNER = 6  # a latent that both matchings give one partner
TALL = {"width": 1400, "height": 4000}


def worth(arrays):
    often, score = arrays["firings_frequency"], arrays["rules_score"]
    return (often >= 1e-4) & (often <= 0.05) & (score >= 0.8) & (score > arrays["rules_random"])


def by_score(arrays, mask):
    return sorted(np.flatnonzero(mask), key=lambda i: -arrays["rules_score"][i])


def test_it_opens_on_latents_that_are_worth_a_look(tab, arrays):
    t = tab(viewport=TALL)
    wanted = by_score(arrays, worth(arrays))
    assert t.indices() == wanted
    assert t.texts(".count") == [f"{len(wanted)} of 40 latents"]
    shared = arrays["partners_shared_with"]
    kinds = (shared == N_OTHERS, shared == 0, arrays["novelty_novel"])
    picked = [i for kind in kinds for i in by_score(arrays, worth(arrays) & kind)[:4]]
    assert t.indices(".index", "Worth a look") == picked


def test_where_none_is_worth_a_look_all_are_listed(tab):
    arrays = made_up()
    arrays["rules_score"] = np.where(np.isnan(arrays["rules_score"]), np.nan, 0.6)
    assert tab("", arrays).texts(".count") == ["40 latents"]


@pytest.mark.parametrize(("query", "latent"), [(EXPLAINED, EXPLAINED_AT), ("DocString", ROLE_AT)])
def test_search_finds_what_an_explanation_names(query, latent, tab, arrays):
    t = tab()
    t.search(query)
    t.wait_for_count("1 of 40 latents")
    assert t.indices() == [latent]
    t.press("Enter")
    t.wait_for_heading(f"Latent {latent}")
    said = t.page.locator("main > .explanation").inner_text()
    assert query.lower() in said.lower()
    assert f"score {np.float32(arrays['rules_score'][latent]):.2f} a random direction" in " ".join(said.split())
    assert said.endswith(f"has {np.float32(arrays['rules_random'][latent]):.2f}")


def one_partner(arrays):
    arrays["partners_encoder_latent"][PARTNER] = arrays["partners_decoder_latent"][PARTNER]
    return int(arrays["partners_decoder_latent"][PARTNER])


def test_the_partner_stands_beside_the_latent(tab):
    arrays = made_up()
    partner = one_partner(arrays)
    t = tab(f"#/latent/{PARTNER}", arrays)
    sides = t.panel("Side by side with seed 1").locator(".one")
    heads = [f"#{PARTNER} in seed 0 this latent", f"#{partner} in seed 1 by both matchings"]
    assert sides.locator("h3").all_inner_texts() == heads
    texts = [f"word{token - len(HOSTILE) - 1}" for token in arrays["other_firings_token"][partner]]
    shown = sides.nth(1).locator("p", has_text="Activation on").locator(".token").all_text_contents()
    assert shown == [f"␣{text}" for text in texts]
    own = (arrays["other_contexts_latent"] == partner) & (arrays["other_contexts_group"] == 0)
    values = np.float32(arrays["other_contexts_values"][own][:, 5])
    assert sides.nth(1).locator(".strength").all_inner_texts() == [f"{value:.2f}" for value in values]
    together = float(sides.nth(1).locator(".facts").inner_text().split("together ")[1].removesuffix(" %"))
    assert together == pytest.approx(100 * arrays["other_overlap_decoder"][PARTNER], rel=0.5e-2)
    assert sides.nth(1).locator(".score").inner_text() == f"score {arrays['other_rules_score'][partner]:.2f}"


def test_two_partners_stand_beside_the_latent_where_the_matchings_disagree(tab, arrays):
    t = tab("#/latent/10")
    partners = [
        f"#{arrays[f'partners_{side}_latent'][10]} in seed 1 by the {side} matching" for side in ("decoder", "encoder")
    ]
    assert t.panel("Side by side with seed 1").locator("h3").all_inner_texts()[1:] == partners


def test_all_windows_of_both_are_shown_on_demand(tab):
    arrays = made_up()
    partner = one_partner(arrays)
    arrays["contexts_group"][:], arrays["other_contexts_group"][:] = 0, 0
    arrays["contexts_latent"][:] = np.sort(np.append(arrays["contexts_latent"][:-9], np.full(9, PARTNER)))
    t = tab(f"#/latent/{PARTNER}", arrays)
    panel = t.panel("Side by side with seed 1")
    assert [(arrays["contexts_latent"] == PARTNER).sum(), (arrays["other_contexts_latent"] == partner).sum()] == [12, 2]
    assert panel.locator(".context").count() == 5 + 2
    panel.locator("button", has_text="All windows").click()
    assert panel.locator(".context").count() == 12 + 2


def test_a_click_in_the_scatter_opens_the_latent(tab, arrays):
    t = tab()
    x, y = arrays["partners_decoder_cosine"], arrays["partners_encoder_cosine"]
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + 9 * np.eye(40)
    latent = int(np.nanargmax(np.where(np.isnan(apart), -1, apart).min(1)))
    box = t.page.locator(".scatter").bounding_box()
    left, side = 44, 420 - 44 - 8
    at = {"x": box["x"] + left + x[latent] * side, "y": box["y"] + 420 - left - y[latent] * side}
    t.page.mouse.move(**at)
    assert t.page.locator(".tip").inner_text().startswith(f"#{latent} ")
    t.page.mouse.click(**at)
    t.wait_for_heading(f"Latent {latent}")


def test_the_scatter_colours_what_is_listed(tab):
    t = tab()

    def coloured():
        picture = np.asarray(Image.open(BytesIO(t.page.locator(".scatter").screenshot())).convert("RGB"), dtype=int)
        return int((np.ptp(picture, axis=2) > 60).sum())

    few = coloured()
    t.page.locator("select").nth(1).select_option("all")
    t.wait_for_count("40 latents")
    assert coloured() > 2 * few > 0


def test_the_list_is_narrowed_by_how_often_latents_fire(tab, arrays):
    t = tab("#/?show=all&sort=index", viewport=TALL)
    often = 100 * np.float32(arrays["firings_frequency"])
    for least, most in (("1", ""), ("", "0.1"), ("0.01", "1")):
        t.page.get_by_label("at least").fill(least)
        t.page.get_by_label("at most").fill(most)
        wanted = np.flatnonzero((often >= float(least or 0)) & (often <= float(most or 100))).tolist()
        t.wait_for_count(f"{len(wanted)} of 40 latents")
        assert t.indices() == wanted
    t.page.reload()
    t.wait_for_count(f"{len(wanted)} of 40 latents")


def test_a_column_of_frequencies_lists_its_latents(tab, arrays):
    t = tab()
    column = t.panel("How often latents fire").locator(".column").last
    expected = int(column.get_attribute("data-tip").rpartition(": ")[2])
    column.click()
    t.wait_for_count(f"{expected} of 40 latents")


def test_an_empty_list_says_why_and_how_to_leave_it(tab):
    t = tab()
    t.search("nothing like it")
    t.wait_for_count("0 of 40 latents")
    told = "No latent has its activation on, is explained by or raises a token with “nothing like it”."
    assert t.texts(".empty p") == [told]
    t.page.locator(".empty button").click()
    t.wait_for_count("40 latents")
    assert not t.page.locator(".empty").is_visible()
    t.open(f"#/?q={PLANTED}&show=dead")
    assert t.texts(".empty p")[0].startswith("No latent among these")
    t.page.locator(".empty button").click()
    t.wait_for_count("1 of 40 latents")
    assert t.indices() == [PLANTED_AT]


@pytest.mark.parametrize(("show", "means"), [("novel", "lowers the squared error"), ("reconstruction", "raises the")])
def test_novel_is_explained_where_it_stands(show, means, tab, arrays):
    t = tab(f"#/?show={show}")
    assert means in t.texts(".means")[0]
    novel = arrays["novelty_novel"] & (arrays["firings_frequency"] > 0)
    latent = int(np.flatnonzero(novel if show == "novel" else ~novel & (arrays["firings_frequency"] > 0))[0])
    t.open_latent(latent)
    assert means in t.panel("Beside the dictionary of 20 latents").inner_text()
    t.page.locator(".badge").nth(1).hover()
    assert means in t.page.locator(".tip").inner_text()


def saved(t, name):
    with t.page.expect_download() as download:
        t.page.locator(".save").click()
    assert download.value.suggested_filename == name
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_list_is_saved_as_a_table(tab, arrays):
    t = tab("#/?show=all&sort=index", accept_downloads=True)
    rows = saved(t, "latents.csv")
    assert [int(row["latent"]) for row in rows] == list(range(40))
    numbers = {
        "fires_on_share": arrays["firings_frequency"],
        "largest_activation": arrays["firings_maximum"],
        "rule_score": arrays["rules_score"],
        "shared_with": arrays["partners_shared_with"],
        "encoder_cosine": arrays["partners_encoder_cosine"],
        "squared_error_change": arrays["novelty_mse_change"],
        "meta_latents": (arrays["composition_latent"] >= 0).sum(1),
    }
    for name, values in numbers.items():
        found = [float(row[name] or "nan") for row in rows]
        assert found == pytest.approx(values, rel=1e-5, nan_ok=True), name
    for i, text in enumerate(HOSTILE):
        if i not in (3, PLANTED_AT):
            assert json.loads(rows[i]["activation_on"])[0] == text
    assert json.loads(rows[10]["fires_with"]) == arrays["together_latent"][10].tolist()
    assert rows[EXPLAINED_AT]["rule"] == f'previous token is " word0", "{EXPLAINED}" or 3 more'
    assert (rows[ROLE_AT]["rule"], rows[4]["rule"]) == ("role is docstring", "")
    assert not any(cell[:1] in "=+@" for row in rows for cell in row.values() if cell)


def test_what_is_saved_is_what_is_listed(tab, arrays):
    t = tab(f"#/?q={PLANTED}", accept_downloads=True)
    assert [row["latent"] for row in saved(t, "latents.csv")] == [str(PLANTED_AT)]
    t.open("#/?kind=meta&sort=index")
    rows = saved(t, "meta-latents.csv")
    using = [np.flatnonzero((arrays["composition_latent"] == meta).any(1)) for meta in range(6)]
    assert [sorted(json.loads(row["made_of_it"])) for row in rows] == [of.tolist() for of in using]
