"""What the command prints is what a written-out form gives, of any formats; what cannot be compared is one line."""

import re

import numpy as np
import pytest
import torch
from helpers.foreign_files import drawn, write
from helpers.planted_stacks import noisy, planted
from safetensors.torch import save_file
from scipy.optimize import linear_sum_assignment

from sae_utils.analysis import directions as nulls
from sae_utils.analysis.matching import criteria, from_both_sides
from sae_utils.analysis.matching.metric import in_metric
from sae_utils.analysis.statistics import BOOTSTRAP, JACKKNIFE
from sae_utils.paths import ROOT
from sae_utils.run.compare import ALL, WORDS, main
from sae_utils.saes import SAE, SAEConfig, evaluate
from sae_utils.saes.formats import write_saelens, write_sparsify
from sae_utils.saes.training import save_sae


def dictionaries(encoders, decoders, k=3):
    """A stack with these rows and no biases."""
    S, n, d = decoders.shape
    sae = SAE(SAEConfig(d, n, "topk", k=k, unit_norm_decoder=False), range(S), "blocks.1.hook_mlp_out")
    with torch.no_grad():
        sae.encoder.copy_(encoders)
        sae.W_dec.copy_(decoders)
    return sae


def in_folders(folder, sae, write_sae=write_saelens):
    """The dictionaries of a stack in a folder each."""
    for i in range(sae.n_dictionaries):
        write_sae(sae.dictionary(i), folder / str(i))
    return [str(folder / str(i)) for i in range(sae.n_dictionaries)]


@pytest.fixture
def printed(capsys):
    """What the command prints, its table by criterion: the numbers in a row."""

    def run(*arguments):
        assert main([str(argument) for argument in arguments]) == 0
        text = capsys.readouterr().out
        rows = [line.split(maxsplit=1) for line in text.split("\n\n")[2].splitlines()[1:]]
        assert max(map(len, text.split("\n\n", 1)[1].splitlines())) <= 100
        return text, {name: [float(x) for x in re.findall(r"-?\d\.\d{3}|nan", rest)] for name, rest in rows}

    return run


@pytest.fixture
def refusal(capsys):
    def run(*arguments):
        assert main([str(argument) for argument in arguments]) == 2
        out, line = capsys.readouterr()
        assert line.count("\n") == 1
        return line

    return run


def test_every_criterion_has_words():
    assert WORDS.keys() == ALL.keys()


def test_two_dictionaries_with_half_of_their_latents_in_common(tmp_path, printed):
    held = np.tile(np.arange(40) < 20, (2, 1))
    decoders = planted(held, 40, 30).float()
    text, table = printed(*in_folders(tmp_path, dictionaries(decoders, decoders)))
    for name in ("shared_strict", "shared_notebook", "shared_max_decoder", "shared_encoder_only"):
        estimate, low, high, tied, independent = table[name]
        assert low < estimate == 0.5 < high and tied < 0.1 > independent
    assert "raw" in text and BOOTSTRAP in text and "cycle" not in text
    assert "saelens, 40 latents, topk (k 3), blocks.1.hook_mlp_out" in text


def test_four_dictionaries_in_two_formats_are_as_in_a_written_out_form(tmp_path, printed):
    sae = dictionaries(*noisy(4, 24, 10))
    write_sparsify(sae, tmp_path / "all")
    save_sae(sae, tmp_path / "all.safetensors")
    x = drawn(500, 10) * torch.linspace(0.1, 2, 10)
    save_file({"x": x}, tmp_path / "x.safetensors")

    quality, covariance = evaluate(sae, [x]), nulls.covariance([x])
    alive, rows = quality.alive, sae.encoder.detach()
    pairs = from_both_sides(in_metric(rows, covariance), sae.W_dec, alive)
    raw = criteria.means(from_both_sides(rows, sae.W_dec, alive))
    moment = nulls.second_moment(sae.W_dec.detach()[alive])
    stacks = nulls.null_stacks(alive.shape, {nulls.ACTIVATIONS: covariance, nulls.DECODERS: moment}, seed=0)
    chance = [
        criteria.means(from_both_sides(in_metric(e, covariance), d, alive))
        for e, d in (stacks["decoders_tied"], stacks["decoders_independent"])
    ]
    text, table = printed(tmp_path / "all", "--activations", tmp_path / "x.safetensors")
    for name, interval in criteria.measure(pairs).items():
        wanted = [*interval.ends, raw[name], *(null[name] for null in chance)]
        np.testing.assert_allclose(table[name], wanted, atol=0.0006)
    assert JACKKNIFE in text and "1 to 4  " in text and "sparsify, 4 of 24 latents" in text
    assert f"explained variance: {float(quality.explained_variance[0]):.3f}, " in text
    np.testing.assert_equal(
        printed(tmp_path / "all.safetensors", "--activations", tmp_path / "x.safetensors")[1], table
    )


def test_dictionaries_of_two_widths(tmp_path, printed):
    encoders, decoders = noisy(2, 24, 10, noise=2.0)
    sides = [(encoders[0], decoders[0]), (encoders[1, :9], decoders[1, :9])]
    names = [in_folders(tmp_path / str(i), dictionaries(e[None], d[None]))[0] for i, (e, d) in enumerate(sides)]
    text, table = printed(*names)
    cosines = {}
    for which in (0, 1):
        a, b = (torch.nn.functional.normalize(side[which].double(), dim=-1).numpy() for side in sides)
        at = linear_sum_assignment(-a @ b.T)
        cosines[which] = np.full((24, 9), -1.0)
        cosines[which][at] = (a @ b.T)[at]
    shared = ((cosines[0] >= 0.7) & (cosines[1] >= 0.7)).sum()
    assert shared and table["shared_strict"][0] == pytest.approx((shared / 24 + shared / 9) / 2, abs=6e-4)
    assert table["decoder_cosine"][0] == pytest.approx(cosines[1][cosines[1] > -1].mean(), abs=6e-4)
    assert f"of 24, 9 latents, no share can exceed {(9 / 24 + 1) / 2:.3f} one to one" in text
    # Where all of the narrow one is in the wide one, there is no cosine of what is not shared.
    inside = in_folders(tmp_path / "inside", dictionaries(encoders[:1, :9], decoders[:1, :9]))
    assert "unshared_cosine" not in printed(names[0], *inside)[1]


def test_latents_that_never_fire_or_are_zeros_are_left_out(tmp_path, printed):
    encoders, decoders = noisy(2, 24, 10)
    decoders[0, 3] = 0
    sae = dictionaries(encoders, decoders)
    names = in_folders(tmp_path, sae)
    said = "rows of zeros: 1, 0 (those that never fire are not known without --activations FILE)\n"
    assert said in printed(*names)[0]
    with torch.no_grad():
        sae.b_enc[1, :5] = -1e6
    names = in_folders(tmp_path, sae)
    save_file({"x": drawn(2000, 10)}, tmp_path / "x.safetensors")
    text, _ = printed(*names, "--activations", tmp_path / "x.safetensors")
    assert "latents that fire on none of the activations: 0, 5\n" in text


def test_what_cannot_be_compared_is_one_line(tmp_path, refusal):
    one, two = in_folders(tmp_path / "two", dictionaries(*noisy(2, 8, 6)))
    (other,) = in_folders(tmp_path / "other", dictionaries(*noisy(1, 8, 5)))
    nan = write(tmp_path / "nan", "sae.safetensors", {"W": torch.full((6, 8), float("nan"))})
    (nan / "mapping.yaml").write_text("architecture: relu\nW_enc: W\nW_dec: W.T\n")
    (tmp_path / "empty").mkdir()
    (dead,) = in_folders(tmp_path / "dead", dictionaries(torch.zeros(1, 8, 6), torch.zeros(1, 8, 6)))
    assert "one holds one dictionary; to compare takes two or more" in refusal(one).replace(one, "one")
    assert "must have one d_in to be compared; found 6, 5" in refusal(one, other)
    assert "W_enc of" in (line := refusal(one, nan)) and "not finite" in line
    assert "no SAE of a known format in" in refusal(one, tmp_path / "empty")
    assert "there is no such file or folder" in refusal(one, tmp_path / "nothing")
    for tensors, said in (
        ({"x": drawn(9, 5)}, "must hold one tensor [tokens, 6]; found x [9, 5]"),
        ({"x": drawn(9, 6), "y": drawn(9, 6)}, "found x [9, 6], y [9, 6]"),
        ({"x": drawn(6)}, "found x [6]"),
        ({"x": torch.full((9, 6), float("inf"))}, "not finite"),
        ({"x": torch.ones(9, 6)}, "do not vary"),
    ):
        save_file(tensors, tmp_path / "x.safetensors")
        assert said in refusal(one, two, "--activations", tmp_path / "x.safetensors")
    assert "there is no such file" in refusal(one, two, "--activations", tmp_path / "y.safetensors")
    assert "the second dictionary has no alive latent" in refusal(one, dead)


def test_what_the_readme_prints_of_two_seeds_is_what_is_printed(tmp_path, printed):
    decoders = planted(np.tile(np.arange(40) < 20, (2, 1)), 40, 30).float()
    text, _ = printed(*in_folders(tmp_path, dictionaries(decoders, decoders)))
    recipe = (ROOT / "README.md").read_text(encoding="utf-8").partition("| grep")[2].partition("```")[0]
    shown = [re.sub(r"[\d.]+", "0", line) for line in recipe.splitlines()[1:]]
    assert shown and all(line in {re.sub(r"[\d.]+", "0", one) for one in text.splitlines()} for line in shown)
