"""Published SAEs in the place of trained ones: what is read and refused, and notebooks 01, 03 and 04 on them."""

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.foreign_files import (
    D_IN,
    N_LATENTS,
    K,
    activations,
    assert_same,
    linear,
    ours,
    write,
    write_gemma_scope,
    write_gemma_scope_2,
    write_pickled,
)
from helpers.notebook_cells import run_cells
from helpers.tiny_language_model import TEXTS, make_family, make_tiny
from scipy.optimize import linear_sum_assignment

from sae_utils.data.activations import open_source
from sae_utils.data.models.language_model import load_language_model
from sae_utils.data.text import token_rows
from sae_utils.errors import InputError
from sae_utils.paths import NOTEBOOKS
from sae_utils.report.claims.verdicts import NOT_JUDGED
from sae_utils.run.parameters.presets import load_preset
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.formats.published import as_family, as_stack, read_published, with_unit_rows
from sae_utils.saes.formats.read import read_sae
from sae_utils.saes.formats.saelens import centred, write_saelens
from sae_utils.saes.formats.sparsify import write_sparsify
from sae_utils.saes.training import TrainingConfig, save_sae, train

HOOK = "blocks.2.hook_mlp_out"


def FakeModel(d_model):
    return SimpleNamespace(name="fake", d_model=d_model, bridge=SimpleNamespace(hook_dict={HOOK: object()}))


def weights_of(sae, reading_x=False):
    """Of a stack of one, for an encoder that subtracts b_dec, or as a JumpReLU's that reads x itself."""
    plain = sae.fold_normalisation()
    w = {name: getattr(plain, name)[0].detach() for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
    if reading_x:
        jumps = sae.config.architecture == "jump_relu"
        w["threshold"] = plain.log_threshold[0].detach().exp() if jumps else torch.full_like(w["b_enc"], 1e-9)
        w["b_enc"] = w["b_enc"] - w["b_dec"] @ w["W_enc"]
    return w


def read(*paths, site="mlp_out", layer=2):
    return read_published([str(path) for path in paths], site, layer)


def refused(*paths, of=lambda found: found, **at):
    with pytest.raises(InputError) as error:
        of(read(*paths, **at))
    assert "\n" not in str(error.value)
    return str(error.value)


def narrower(sae, n):
    """The first latents of a stack."""
    config = SAEConfig(**{**vars(sae.config), "n_latents": n})
    out = SAE(config, sae.seeds, sae.hook_point, sae.normalisation)
    out.load_state_dict(
        {k: t[:, :n] if t.ndim > 1 and t.shape[1] == N_LATENTS else t for k, t in sae.state_dict().items()}
    )
    return out


def test_no_names_are_no_dictionaries():
    given = read()
    assert not given and given.lines == () and given.saes == ()
    x = activations()
    assert given.activations(x) is x
    given.check_fits("anything", FakeModel(3))


def test_one_stack_of_what_lies_in_several_formats(tmp_path):
    """Other scales, no hook point in the file, more than one in a folder; the function of x is the same."""
    write_sparsify(ours("topk", (7, 9)), tmp_path / "layers.2.mlp")
    write_saelens(ours("topk", (4,), hook_point=""), tmp_path / "saelens")
    save_sae(ours("topk", (7,)), tmp_path / "own.safetensors")
    given = read(tmp_path / "layers.2.mlp", tmp_path / "saelens", tmp_path / "own.safetensors")
    stack, x = as_stack(given), activations()
    assert (stack.seeds, stack.hook_point, given.architecture) == ((0, 1, 2, 3), HOOK, "topk")
    expected = [
        ours("topk", (7, 9)).dictionary(0),
        ours("topk", (7, 9)).dictionary(1),
        ours("topk", (4,)),
        ours("topk", (7,)),
    ]
    with torch.no_grad():
        for member, sae in enumerate(expected):
            assert_same(stack(x)[:, member], sae(x)[:, 0])
    assert [line.removeprefix(f"{tmp_path}/") for line in given.lines] == [
        f"layers.2.mlp: sparsify, 2 of 16 latents, topk (k 3), {HOOK}",
        "saelens: saelens, 16 latents, topk (k 3), hook point not recorded",
        f"own.safetensors: sae_utils, 16 latents, topk (k 3), {HOOK}",
    ]


def centred_in_file(folder):
    write_saelens(ours("relu"), folder)
    cfg = json.loads((folder / "cfg.json").read_text())
    cfg["metadata"]["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    return folder


def test_what_does_not_go_together_is_refused_in_one_line(tmp_path):
    relu, narrow, scope, elsewhere, other = (tmp_path / name for name in ("relu", "narrow", "scope", "else", "other"))
    write_saelens(ours("relu"), relu)
    write_saelens(narrower(ours("relu"), 8), narrow)
    write_gemma_scope(scope, weights_of(ours("jump_relu"), True))
    write_saelens(ours("relu", hook_point="blocks.0.hook_resid_pre"), elsewhere)
    write_saelens(SAE.create(SAEConfig(9, 16, "relu", sparsity=1.0), [0]), other)
    for names, said in (
        ([tmp_path / "none"], "there is no such file or folder"),
        ([relu, elsewhere], f"else was trained at blocks.0.hook_resid_pre; layer and site say {HOOK}"),
        ([relu, scope], "saes must have one architecture; found relu, jump_relu"),
        ([relu, other], "saes must have one d_in; found 6, 9"),
        ([relu, centred_in_file(tmp_path / "centred")], "trained on centred activations; found False, True"),
    ):
        assert said in refused(*names)
    assert f"trained at {HOOK}; layer and site say blocks.1.hook_mlp_out" in refused(relu, layer=1)
    assert "saes must have one n_latents; found 16, 8" in refused(relu, narrow, of=as_stack)
    assert "saes hold 1 dictionary" in refused(relu, of=as_stack)
    for wrong in ([relu], [relu, narrow], [relu, relu]):
        assert "each of its own width; found widths [16" in refused(*wrong, of=as_family)
    assert [sae.config.n_latents for sae in as_family(read(narrow, relu))] == [8, 16]
    with pytest.raises(InputError, match=f"d_in=6, but hook point '{HOOK}' has 8 dimensions"):
        read(relu).check_fits(HOOK, FakeModel(8))


def named(folder, module):
    """A folder as sparsify itself writes it, whose name alone says the place."""
    write_sparsify(ours("topk"), folder / module)
    cfg = json.loads((folder / module / "cfg.json").read_text())
    del cfg["hook_point"]
    (folder / module / "cfg.json").write_text(json.dumps(cfg))
    return folder / module


def test_other_places_than_the_notebooks_are_refused(tmp_path):
    """By name where the name is known, and where it is not; an SAE that names no place is at the notebook's."""
    assert read(named(tmp_path, "layers.2.mlp")).saes[0].hook_point == HOOK
    assert read(named(tmp_path, "mine")).saes[0].hook_point == HOOK
    said = f"was trained at blocks.2.hook_resid_post; layer and site say {HOOK}"
    assert said in refused(named(tmp_path, "layers.2"))
    for module in ("layers.2.attention", "layers.2.self_attn", "embed_in", "h.2.mlp.act"):
        assert f"{module} was trained at '{module}', which is no known hook point" in refused(named(tmp_path, module))
    for hook_point in ("blocks.2.attn.hook_z", "blocks.2.hook_attn_out", "layers.2.attention"):
        write_saelens(ours("relu", hook_point=hook_point), tmp_path / f"saelens {hook_point}")
        assert f"was trained at {hook_point}; layer and site say {HOOK}" in refused(tmp_path / f"saelens {hook_point}")
    for folder, said in {
        "gemma-scope-2b-pt-att/layer_2/x": "was trained at blocks.2.attn.hook_z; layer",
        "gemma-scope-2b-pt-transcoders/layer_2/x": "is of 'transcoders' of Gemma Scope; known: res, mlp, att",
        "layer_1/width_16k": "was trained at layer 1; layer says 2",
    }.items():
        write_gemma_scope(tmp_path / folder, weights_of(ours("jump_relu"), True))
        assert said in refused(tmp_path / folder)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_output_of_an_mlp_before_a_norm_is_another_place(tmp_path, family):
    """sparsify hooks the module; the module's own output decides, as transformers computes it."""
    import transformers

    lm = load_language_model(make_family(tmp_path / "model", family))
    width = SAEConfig(lm.d_model, N_LATENTS, "topk", K)
    write_sparsify(SAE.create(width, [0]), tmp_path / "layers.1.mlp")
    hook_point = read_sae(tmp_path / "layers.1.mlp").hook_point
    plain, seen = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval(), []
    plain.model.layers[1].mlp.register_forward_hook(lambda module, inputs, output: seen.append(output))
    tokens = torch.arange(16)[None]
    plain(tokens)
    found = lm.activations(tokens, [hook_point, "blocks.1.hook_mlp_out"])
    assert_same(found[hook_point], seen[0].detach())
    given = read(tmp_path / "layers.1.mlp", layer=1)
    with pytest.raises(InputError, match=r"'blocks.1.attn.hook_z' has \[2, 8\] numbers for a token; dictionaries read"):
        open_source(lm, tokens.numpy(), ["blocks.1.attn.hook_z"], tmp_path / "cache")
    if family == "llama":
        assert torch.equal(*found.values())
        given.check_fits("blocks.1.hook_mlp_out", lm)
    else:
        with pytest.raises(InputError, match=r"^saes were trained at blocks.1.mlp.hook_out, .* a norm comes between"):
            given.check_fits("blocks.1.hook_mlp_out", lm)


def test_other_k_make_no_stack_but_a_family(tmp_path):
    sae = ours("topk")
    write_sparsify(sae, tmp_path / "three")
    write_sparsify(SAE.create(SAEConfig(D_IN, N_LATENTS, "topk", 5), [0]), tmp_path / "five")
    assert "saes must have one k; found 3, 5" in refused(tmp_path / "three", tmp_path / "five", of=as_stack)
    write_sparsify(narrower(sae, 8), tmp_path / "narrow")
    assert [sae.config.k for sae in as_family(read(tmp_path / "narrow", tmp_path / "five"))] == [3, 5]


def test_centred_dictionaries_are_compared_with_centred_activations(tmp_path):
    given, x = read(centred_in_file(tmp_path)), activations()
    assert_same(given.activations(x).mean(-1).abs() + 1, torch.ones(len(x)))
    with torch.no_grad():
        assert_same(given.saes[0](x), centred(ours("relu"))(x))
        assert_same(given.saes[0](given.activations(x)), given.saes[0](x))


@pytest.mark.parametrize("architecture", ["relu", "gated", "jump_relu"])
def test_unit_rows_are_the_same_function(architecture):
    sae, x = ours(architecture, (1, 2)), activations()
    unit = with_unit_rows(sae)
    norms = sae.W_dec.norm(dim=-1)
    assert (norms - 1).abs().max() > 0.1
    torch.testing.assert_close(unit.W_dec.norm(dim=-1), torch.ones(2, N_LATENTS))
    with torch.no_grad():
        assert_same(unit(x), sae(x))
        assert_same(unit.encode(x).dense(N_LATENTS), sae.encode(x).dense(N_LATENTS) * norms)
    assert with_unit_rows(unit) is unit


@pytest.mark.parametrize("architecture", ["topk", "batch_topk"])
def test_rows_whose_norms_choose_latents_are_refused(architecture):
    with pytest.raises(InputError, match=f"decoder rows of {architecture} dictionaries must have norm 1 here"):
        with_unit_rows(ours(architecture))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small model, a text, and SAEs that were trained on both a little, in several formats."""
    folder = tmp_path_factory.mktemp("published")
    make_tiny(folder / "model")
    with open(folder / "text.jsonl", "w") as file:
        for i in range(240):
            file.write(json.dumps({"text": "".join(TEXTS[j % 60] for j in range(i, 5 * i, 7))[:600] + str(i)}) + "\n")
    lm = load_language_model(folder / "model")
    rows = token_rows(str(folder / "text.jsonl"), lm.tokenizer, "train", 200, 32, folder / "cache")
    source = open_source(lm, rows, [HOOK], folder / "cache")
    new = partial(SAE.create, hook_point=HOOK, normalisation=source.normalisation[HOOK])
    topk = new(SAEConfig(16, 24, "topk", 4), range(5))
    relu = [new(SAEConfig(16, n, "relu", sparsity=0.5), [i]) for i, n in enumerate((16, 24, 32))]
    narrow = new(SAEConfig(16, 16, "topk", 4), [5])
    train([topk, narrow, *relu], source, TrainingConfig(6144, 64, 0, 1e-2), progress=False)
    write_sparsify(topk.dictionary(0), folder / "topk_0" / "layers.2.mlp")
    write_sparsify(narrow, folder / "narrow" / "layers.2.mlp")
    write_saelens(topk.dictionary(1), folder / "topk_1")
    w = weights_of(topk.dictionary(2))
    state = linear(w) | {"encoder.bias": w["b_enc"], "b_dec": w["b_dec"], "k": torch.tensor(4)}
    write_pickled(folder / "topk_2", state)
    w = weights_of(topk.dictionary(3))
    write(folder / "topk_3", "sae.safetensors", w)
    mapping = {"architecture": "topk", "k": 4, "pre_bias": "b_dec"} | {n: n for n in ("W_enc", "W_dec", "b_enc")}
    (folder / "topk_3" / "mapping.yaml").write_text(json.dumps(mapping))
    save_sae(topk.dictionary(4), folder / "topk_4.safetensors")
    write_saelens(relu[0], folder / "relu_16")
    save_sae(relu[1], folder / "relu_24.safetensors")
    w = weights_of(relu[2])
    write_pickled(folder / "relu_32", linear(w) | {"encoder.bias": w["b_enc"], "bias": w["b_dec"]})
    for n in (16, 64):  # not trained: every latent is alive
        sae = new(SAEConfig(16, n, "jump_relu", sparsity=0.5), [n])
        write_gemma_scope(folder / f"scope_{n}", weights_of(sae, True))
    return folder


def run(place, notebook, saes, **changes):
    parameters = {
        "model": str(place / "model"),
        "corpus": str(place / "text.jsonl"),
        "layer": 2,
        "site": "mlp_out",
        "saes": [str(place / sae) for sae in saes],
        "n_eval_tokens": 2048,
        "batch_size": 64,
        "results_dir": str(place / "results"),
        "preset": "-".join(saes).replace("/", "."),
    }
    cells = run_cells(NOTEBOOKS / f"{notebook}.ipynb", parameters | changes)
    return cells["r"], {verdict["id"]: verdict for verdict in cells["r"].verdicts}


def not_judged(verdicts):
    return {name for name, verdict in verdicts.items() if verdict["verdict"].startswith(NOT_JUDGED)}


def test_seed_divergence_of_five_in_five_formats(place):
    saes = ["topk_0/layers.2.mlp", "topk_1", "topk_2", "topk_3", "topk_4.safetensors"]
    found, verdicts = run(place, "01_seed_divergence", saes)
    assert not_judged(verdicts) == {"A-5", "A-6"} and len(verdicts) == 8  # of what is shared there is too little
    assert verdicts["A-6"]["estimate"] is None and "laws" not in found.arrays  # they take seven
    assert found.arrays["pairwise"].shape == (5, 5) and len(found.arrays["membership"]) == 5
    assert np.isfinite(found.arrays["criteria"]).all()


def test_stitching_of_three_in_three_formats(place):
    found, verdicts = run(place, "03_stitching", ["relu_16", "relu_24.safetensors", "relu_32"])
    of_topk = {"B-9", "B-10", "B-11", "B-12", "B-14", "B-16", "B-17"}
    one_pair = {"B-0", "B-5", "B-6", "B-7", "B-8", "B-13", "B-15"}  # several seeds, or one pair of widths
    assert not_judged(verdicts) - {"B-2", "B-3"} == of_topk | one_pair and len(verdicts) == 19
    assert "not over seeds" in verdicts["B-4"]["interval"]
    assert found.metrics["labels"] == {"relu": ["16→24", "24→32"]} and found.metrics["between_seeds"] == {}
    assert found.arrays["trained"][:, 0].tolist() == [16, 24, 32] and not len(found.arrays["controls"])


SMALL_META = {"n_meta": 8, "meta_k": 2, "meta_widths": [8], "meta_ks": [2], "n_meta_steps": 100, "n_bench_steps": 60}
SMALL_META |= {"n_seeds": 2, "meta_batch_size": 32, "split_cosine": 0.3}
SMALL_META |= {"n_edited": 1, "n_edit_places": 2, "edit_context": 24}


@pytest.fixture(scope="module")
def gemma_scope_2(place):
    """A small Gemma 3 and folders by the names of the presets, of dictionaries that were trained on it a little."""
    lm = load_language_model(make_family(place / "gemma", "gemma3_text"))
    rows = token_rows(str(place / "text.jsonl"), lm.tokenizer, "train", 200, 32, place / "cache")
    hook = lm.hook_point("resid_post", 1)
    source = open_source(lm, rows, [hook], place / "cache")
    names = {}
    for preset in ("gemma-scope-2-270m", "gemma-scope-2-270m-widths"):
        for own in load_preset(preset).overrides.values():
            names |= {name: {"16k": 16, "65k": 24, "262k": 32}[name.split("_")[4]] for name in own["saes"]}
    config = partial(SAEConfig, 16, architecture="relu", sparsity=0.5)
    made = [SAE.create(config(n), [i], hook, source.normalisation[hook]) for i, n in enumerate(names.values())]
    saes = dict(zip(names, made, strict=True))
    train(made, source, TrainingConfig(6144, 64, 0, 1e-2), progress=False)
    for name, sae in saes.items():
        write_gemma_scope_2(place / name, weights_of(sae, True), "model.layers.1.output")
    return saes


def run_preset(place, preset, notebook, **changes):
    """On the small model: at its layer, with its context and little text."""
    small = {"model": str(place / "gemma"), "layer": 1, "context": 32, "device": "cpu"}
    small |= {"corpus": str(place / "text.jsonl"), "n_eval_tokens": 2048, "batch_size": 64}
    small |= {"results_dir": str(place / "results")}
    own = load_preset(preset).overrides[notebook] | small | changes
    return run(place, notebook, own.pop("saes"), **own)


@pytest.fixture
def no_files(monkeypatch):
    """Figures are drawn, and not rendered into files: the first run of each notebook does that."""
    monkeypatch.setattr("sae_utils.report.figures.save_figure", lambda *_, **__: None)


def test_a_pair_of_gemma_scope_2(place, gemma_scope_2, no_files):
    """Mean cosines of the best assignment, all rows among all, by scipy."""
    found, verdicts = run_preset(place, "gemma-scope-2-270m", "01_seed_divergence")
    pair = [sae for name, sae in gemma_scope_2.items() if "262k" in name]
    a, b = (torch.nn.functional.normalize(sae.W_dec[0].detach().double(), dim=-1).numpy() for sae in pair)
    expected = (a @ b.T)[linear_sum_assignment(a @ b.T, maximize=True)].mean()
    assert found.metrics["with dead latents"]["decoder_cosine"]["estimate"] == pytest.approx(expected, abs=1e-6)
    assert found.arrays["pairwise"].shape == (2, 2) and {"A-4", "A-5", "A-6"} <= not_judged(verdicts)
    assert verdicts["A-1"]["estimate"] is not None


def test_stitching_of_two_topk_dictionaries_in_two_formats(place, no_files):
    _, verdicts = run(place, "03_stitching", ["narrow/layers.2.mlp", "topk_1"])
    assert {"B-1", "B-4", "B-6", "B-14", "B-16"} <= not_judged(verdicts)  # one pair of widths has no interval


def test_stitching_of_three_widths_of_gemma_scope_2(place, gemma_scope_2, no_files):
    found, verdicts = run_preset(place, "gemma-scope-2-270m-widths", "03_stitching")
    assert not_judged(verdicts) == set(verdicts)  # claims are of ReLU and TopK
    assert found.metrics["labels"] == {"jump_relu": ["16→24", "24→32"]}
    assert found.arrays["trained"][:, 0].tolist() == [16, 24, 32]


def test_meta_saes_of_two_widths_of_gemma_scope(place):
    given = {"model": str(place / "model"), "layer": 2, "site": "mlp_out", "saes": ["scope_16", "scope_64"]}
    found, verdicts = run_preset(place, "gemma-scope-2-270m-widths", "04_meta_saes", **given, **SMALL_META)
    assert "B-30" in not_judged(verdicts) and "B-20" not in not_judged(verdicts)
    assert set(found.metrics["stability"]) == {"meta-latents, one dictionary", "null: same covariance"}
    assert "meta-SAE, other dictionary" not in found.metrics["regression"]


@pytest.mark.parametrize(
    ("notebook", "saes", "said"),
    [
        ("01_seed_divergence", ["relu_16", "relu_32"], "saes must have one n_latents; found 16, 32"),
        ("03_stitching", ["relu_32", "relu_16"], "found widths [32, 16]"),
        ("04_meta_saes", ["relu_16", "relu_32"], "n_meta = 32 must be at most 16, the widest but one"),
    ],
)
def test_notebooks_refuse_before_they_load_a_model(place, notebook, saes, said, monkeypatch):
    monkeypatch.setattr("sae_utils.data.models.language_model.load_language_model", lambda *args: 1 / 0)
    with pytest.raises(InputError) as error:
        run(place, notebook, saes)
    assert said in str(error.value) and "\n" not in str(error.value)
