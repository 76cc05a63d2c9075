"""The explorer's file: what results it takes and refuses, where it goes. In a browser: test_shown, test_used."""

import base64
import gzip
import json
import re

import numpy as np
import pytest
from helpers.explorer_results import FACTS, HOSTILE, made_up

from sae_utils.errors import InputError
from sae_utils.report.explorer import __main__ as command
from sae_utils.report.explorer.document import PARTS, SCRIPTS, explorer
from sae_utils.results import write_results


def page(arrays=None, facts=FACTS):
    return explorer({"facts": facts}, made_up() if arrays is None else arrays)


def unpacked(html):
    """Facts and arrays out of the file, read as its comments say."""
    data = re.search(r'<script type="application/octet-stream" id="data">([^<]*)</script>', html)[1]
    raw = gzip.decompress(base64.b64decode(data))
    length = int.from_bytes(raw[:4], "little")
    header = json.loads(raw[4 : 4 + length])
    arrays = {}
    for about in header["arrays"]:
        dtype = np.dtype(about["type"])
        start = 4 + length + about["start"]
        assert start % dtype.itemsize == 0
        size = int(np.prod(about["shape"]))
        arrays[about["name"]] = np.frombuffer(raw, dtype, size, start).reshape(about["shape"])
    return header["facts"], arrays


def test_the_file_holds_the_results():
    wanted = made_up()
    facts, arrays = unpacked(page(wanted).html)
    assert facts == FACTS
    assert set(arrays) == set(wanted)
    for name, values in wanted.items():
        assert np.array_equal(arrays[name], values.astype(arrays[name].dtype), equal_nan=values.dtype.kind == "f")
        assert arrays[name].dtype == np.float32 or np.array_equal(arrays[name], values), name


def test_the_file_is_whole_and_asks_for_nothing():
    html = page().html
    assert "{{" not in html
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#)|@import|url\(|https?:|importScripts|fetch\(|XMLHttp", html)
    assert re.search(r"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-", html)
    assert html.count("<script") == html.count("</script>") == 2


def test_no_token_is_in_the_file_as_html():
    html = page().html
    for token in HOSTILE:
        if "<" in token:
            assert token not in html
    assert "made &lt;b&gt;up&lt;/b&gt;" in html


def test_scripts_write_no_html_and_are_all_used():
    assert {path.stem for path in PARTS.glob("*.js")} == set(SCRIPTS)
    for path in PARTS.glob("*.js"):
        source = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|</", source)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"firings_mean": np.zeros(41)}, r"array 'firings_mean' is of shape \[41\], which does not fit 40"),
        ({"firings_mean": np.zeros((40, 1))}, "array 'firings_mean' has 2 dimensions; it must have 1"),
        ({"firings_mean": np.array(["x"] * 40)}, "array 'firings_mean' must hold numbers, not <U1"),
        ({"neighbours_latent": np.full((40, 3), 40)}, "array 'neighbours_latent' holds 40 to 40; allowed are -1 to 39"),
        ({"neighbours_latent": np.zeros((40, 3))}, "array 'neighbours_latent' must hold whole numbers"),
        ({"contexts_peak": np.full(117, 12)}, "array 'contexts_peak' holds 12 to 12; allowed are 0 to 11"),
        ({"contexts_tokens": np.full((117, 12), -1)}, "array 'contexts_tokens' holds -1 to -1; allowed are 0 to 299"),
        ({"contexts_latent": np.arange(117)[::-1] % 40}, "array 'contexts_latent' must ascend"),
        ({"composition_latent": np.full((40, 3), 6)}, "array 'composition_latent' holds 6 to 6; allowed are -1 to 5"),
        ({"contexts_copies": np.full(117, 2**40)}, "more than 32 bits"),
        (
            {"partners_decoder_latent": np.full(40, 40)},
            "'partners_decoder_latent' holds 40 to 40; allowed are -1 to 39",
        ),
        ({"other_contexts_latent": np.arange(80)[::-1] // 2}, "array 'other_contexts_latent' must ascend"),
        ({"rules_kind": np.full(40, 3)}, "array 'rules_kind' holds 3 to 3; allowed are -1 to 2"),
        ({"rules_role": np.full((40, 2), 2)}, "array 'rules_role' holds 2 to 2; allowed are -1 to 1"),
    ],
)
def test_results_that_do_not_fit_are_refused_in_one_line(change, said):
    with pytest.raises(InputError, match=said) as raised:
        page(made_up() | change)
    assert "\n" not in str(raised.value)


def test_missing_facts_and_arrays_are_refused():
    for name in FACTS:
        with pytest.raises(InputError, match=f"without the fact '{name}'"):
            page(facts=FACTS | {name: None})
    arrays = made_up()
    for name in arrays:
        with pytest.raises(InputError, match=f"without the array '{name}'"):
            page({other: values for other, values in arrays.items() if other != name})


def test_a_notebook_shows_it_in_a_frame_of_its_own():
    made = page()
    shown = made._repr_html_()
    assert re.fullmatch(r'<iframe [^<>"]*(?:"[^"]*"[^<>"]*)*></iframe>', shown)
    assert 'sandbox="allow-scripts allow-downloads"' in shown
    assert repr(made) == "explorer of 40 latents"


def test_the_command_makes_the_file_from_results_alone_always_the_same(tmp_path, capsys):
    write_results(command.NOTEBOOK, "mine", tmp_path, {}, {"facts": FACTS}, [], made_up())
    assert command.main([str(tmp_path / "mine")]) == 0
    assert (tmp_path / "mine" / "explorer.html").read_text() == page().html
    assert capsys.readouterr().out.startswith("explorer of 40 latents, 0.1 MB: ")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda folder: None, "is not a folder of results"),
        (lambda folder: folder.mkdir(), "no results of 09_explorer in"),
        (lambda folder: write_results("09_explorer", folder.name, folder.parent, {}, {}, [], {}), "without the fact"),
    ],
)
def test_the_command_refuses_in_one_line(prepare, said, tmp_path, capsys):
    prepare(tmp_path / "mine")
    assert command.main([str(tmp_path / "mine")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
