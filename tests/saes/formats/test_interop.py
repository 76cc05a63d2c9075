"""The real sae-lens and sparsify: saved there and read here, and back; and other files as SAELens reads them.

Matryoshka's loss is sae-lens's.

They are no requirement of this project: ``./run_all.sh test`` puts them beside it and runs this file by itself.
"""

import importlib.resources
import importlib.util

import pytest
import torch
import yaml
from helpers.foreign_files import (
    D_IN,
    N_LATENTS,
    PLACE,
    STATES,
    K,
    activations,
    assert_same,
    gated_weights,
    jump_weights,
    ours,
    refused,
    weights,
    write,
    write_gemma_scope,
    write_gemma_scope_2,
    write_pickled,
)

from sae_utils.paths import PRESETS
from sae_utils.run.parameters.presets import load_preset
from sae_utils.saes import ARCHITECTURES, SAE
from sae_utils.saes.formats.read import read_sae
from sae_utils.saes.formats.saelens import LISTED, write_saelens
from sae_utils.saes.formats.sparsify import write_sparsify
from sae_utils.saes.methods import Matryoshka

pytestmark = [pytest.mark.filterwarnings("ignore")]  # of their packages and what those import


def imported(name):
    """The module, where it is installed; one that is there but does not import is a failure, not a skip."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: ./run_all.sh test installs it where an index is reached")
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def sae_lens():
    return imported("sae_lens")


@pytest.fixture(scope="module")
def listed(sae_lens):
    """Its list of SAEs, by release; with libyaml: their own reader takes six seconds over 36,000 lines."""
    return yaml.load((importlib.resources.files(sae_lens) / "pretrained_saes.yaml").read_text(), yaml.CSafeLoader)


@pytest.fixture(scope="module")
def sparsify():
    return imported("sparsify")


@torch.no_grad()
def shaken(module, seed=0):
    """Away from their first values: biases are 0 there and the encoder is the decoder transposed."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator).abs())
    return module


@torch.no_grad()
def agree(sae, theirs, encoded=True, seen=None):
    """Reconstructions of ``theirs``, of SAELens, equal ours, and its codes too; it may have ``seen`` another x."""
    x = activations()
    code = theirs.encode(x if seen is None else seen)
    assert (code != 0).any() and (code == 0).any()
    assert_same(sae(x)[:, 0], theirs.decode(code))
    if encoded:
        assert_same(sae.encode(x).dense(N_LATENTS)[:, 0], code)


def made(sae_lens, kind, about=None, **settings):
    """``kind`` of SAELens (``TopK``, ``TopKTraining``…) with weights that are not its first; ``about`` is metadata."""
    metadata = {"hook_name": "blocks.1.hook_mlp_out", "model_name": "pythia-70m", **(about or {})}
    settings |= {"k": K} if "TopK" in kind else {}
    settings |= {"matryoshka_widths": [4, N_LATENTS]} if "Matryoshka" in kind else {}
    config = getattr(sae_lens, f"{kind}SAEConfig")
    cfg = config(d_in=D_IN, d_sae=N_LATENTS, metadata=sae_lens.saes.sae.SAEMetadata(**metadata), **settings)
    return shaken(getattr(sae_lens, f"{kind}SAE")(cfg))


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("kind", ["Standard", "Gated", "TopK", "JumpReLU"])
def test_saved_by_sae_lens(sae_lens, tmp_path, kind, subtract):
    theirs = made(sae_lens, kind, apply_b_dec_to_input=subtract)
    theirs.save_model(tmp_path)
    sae = read_sae(tmp_path)
    agree(sae, theirs)
    assert sae.hook_point == "blocks.1.hook_mlp_out"
    write_saelens(sae, tmp_path / "back")
    agree(sae, sae_lens.SAE.load_from_disk(tmp_path / "back"))


def test_topk_chosen_by_value_times_norm(sae_lens, tmp_path):
    theirs = made(sae_lens, "TopK", rescale_acts_by_decoder_norm=True)
    theirs.save_model(tmp_path)
    agree(read_sae(tmp_path), theirs)


@pytest.mark.parametrize("kind", ["Standard", "Gated", "TopK", "JumpReLU", "BatchTopK", "MatryoshkaBatchTopK"])
def test_after_training_in_sae_lens(sae_lens, tmp_path, kind):
    """A checkpoint of training is the function that is saved for inference, though its decoder norms differ there."""
    training = made(sae_lens, f"{kind}Training")
    if "BatchTopK" in kind:  # saved for inference as a JumpReLU
        training.topk_threshold.fill_(4.0)
    training.save_model(tmp_path / "training")
    training.save_inference_model(tmp_path / "inference")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "inference")
    if kind == "MatryoshkaBatchTopK":
        assert "architecture 'matryoshka_batchtopk'" in refused(tmp_path / "training")
    for name in ("inference", "training") if kind != "MatryoshkaBatchTopK" else ("inference",):
        sae = read_sae(tmp_path / name)
        agree(sae, theirs)
        assert kind != "BatchTopK" or (sae.config.architecture, sae.config.k) == ("batch_topk", K)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_weights_in_another_dtype(sae_lens, tmp_path, dtype):
    theirs = made(sae_lens, "JumpReLU", dtype=dtype)
    theirs.save_model(tmp_path)
    sae = read_sae(tmp_path)
    assert sae.W_dec.dtype == torch.float32
    agree(sae, theirs.to(torch.float32))


@pytest.mark.parametrize("kind", ["Standard", "Gated", "BatchTopKTraining"])
def test_a_checkpoint_on_scaled_activations(sae_lens, tmp_path, kind):
    """The factor lies in a file of its own; SAELens folds it when training ends, which gives the same function."""
    theirs = made(sae_lens, kind, normalize_activations="expected_average_only_in")
    if kind == "BatchTopKTraining":
        theirs.topk_threshold.fill_(2.0)
    theirs.save_model(tmp_path)
    sae_lens.training.activation_scaler.ActivationScaler(0.4).save(str(tmp_path / "activation_scaler.json"))
    theirs.fold_activation_norm_scaling_factor(0.4)
    if kind == "BatchTopKTraining":
        theirs.save_inference_model(tmp_path / "inference")
        theirs = sae_lens.SAE.load_from_disk(tmp_path / "inference")
    agree(read_sae(tmp_path), theirs, encoded=kind != "BatchTopKTraining")  # there the fold changes the latents' unit


def test_centred_residual_streams(sae_lens, tmp_path):
    """What their SAE makes of the stream that it was trained on, ours makes of the stream that keeps its mean."""
    theirs = made(sae_lens, "Standard", {"model_from_pretrained_kwargs": {"center_writing_weights": True}})
    theirs.save_model(tmp_path)
    agree(read_sae(tmp_path), theirs, seen=activations() - activations().mean(-1, keepdim=True))


def test_what_the_list_of_sae_lens_says_beside_the_files(listed):
    said = {}
    for release in listed.values():
        if release.get("conversion_func") is None:  # in their own format, so read from its files
            settings = release.get("config_overrides") or {}
            said[release["repo_id"]] = {key: value for key, value in settings.items() if key != "dataset_path"}
    assert {name: settings for name, settings in said.items() if settings} == LISTED


FLAT = {"d_in": D_IN, "d_sae": N_LATENTS, "hook_name": "blocks.1.hook_mlp_out", "dtype": "float32"}


@pytest.mark.parametrize(
    ("tensors", "cfg"),
    [
        (weights(), {"hook_point": FLAT["hook_name"], "hook_point_head_index": None}),
        (weights(), {"activation_fn_str": "relu", "normalize_activations": False, "apply_b_dec_to_input": False}),
        (weights(), {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}),
        (jump_weights(), {"architecture": "jumprelu", "sae_lens_version": "5.3.1"}),
        (gated_weights(), {"architecture": "gated", "normalize_activations": "none"}),
    ],
    ids=["oldest", "relu", "topk", "jumprelu", "gated"],
)
def test_before_version_6(sae_lens, tmp_path, tensors, cfg):
    """Flat settings, as the versions before 6 wrote them and 6 reads them."""
    write(tmp_path, "sae_weights.safetensors", tensors, FLAT | cfg)
    agree(read_sae(tmp_path), sae_lens.SAE.load_from_disk(tmp_path))


def converted(sae_lens, monkeypatch, loader, repository, folder, **overrides):
    """The SAE that SAELens makes of another library's files on the hub, for which ``folder`` stands."""
    loaders = sae_lens.loading.pretrained_sae_loaders

    def hf_hub_download(repo_id, filename, **_):
        return str(folder / filename.rpartition("/")[2])

    monkeypatch.setattr(loaders, "hf_hub_download", hf_hub_download)

    def converter(path, device, cfg_overrides):
        return getattr(loaders, loader)(repository, path.name, device, False, overrides)[:2]

    return sae_lens.SAE.load_from_disk(folder, converter=converter)


def test_gemma_scope_as_sae_lens_reads_it(sae_lens, tmp_path, monkeypatch):
    folder = write_gemma_scope(tmp_path / "gemma-scope-2b-pt-res" / "layer_12", jump_weights())
    sizes = {"d_in": D_IN, "d_sae": N_LATENTS}
    repository = "google/gemma-scope-2b-pt-res"
    theirs = converted(sae_lens, monkeypatch, "gemma_2_sae_huggingface_loader", repository, folder, **sizes)
    sae = read_sae(folder)
    agree(sae, theirs)
    assert sae.hook_point == theirs.cfg.metadata.hook_name == "blocks.12.hook_resid_post"


def test_gemma_scope_2_as_sae_lens_reads_it(sae_lens, tmp_path, monkeypatch):
    folder = write_gemma_scope_2(tmp_path / "resid_post_layer_2_width_16k", jump_weights(), PLACE)
    shapes = {"w_enc": [D_IN, N_LATENTS], "w_dec": [N_LATENTS, D_IN]}
    loaders = sae_lens.loading.pretrained_sae_loaders
    monkeypatch.setattr(loaders, "get_safetensors_tensor_shapes", lambda repo_id, filename: shapes)
    repository = "google/gemma-scope-2-270m-pt"
    theirs = converted(sae_lens, monkeypatch, "gemma_3_sae_huggingface_loader", repository, folder)
    sae = read_sae(folder)
    agree(sae, theirs)
    assert sae.hook_point == theirs.cfg.metadata.hook_name == "blocks.2.hook_resid_post"


def test_presets_of_gemma_scope_2_name_what_sae_lens_lists(listed):
    """Folders of the model's release, at the preset's place; those of one preset have one L0."""
    release = listed["gemma-scope-2-270m-pt-res"]
    l0 = {f"{release['repo_id']}/{one['path']}": one["l0"] for one in release["saes"]}
    for preset in sorted(PRESETS.glob("gemma-scope-2-*.yaml")):
        for own in load_preset(preset.stem).overrides.values():
            assert len({l0[name] for name in own["saes"]}) == 1 and own["model"] == release["model"]
            assert all(f"/{own['site']}/layer_{own['layer']}_width" in name for name in own["saes"])


@pytest.mark.parametrize("kind", [kind for kind in STATES if kind != "AutoEncoderNew"])  # which SAELens does not read
def test_dictionary_learning_as_sae_lens_reads_it(sae_lens, tmp_path, monkeypatch, kind):
    trainer = {"dict_class": kind, "k": K, "seed": 1, "layer": 3, "lm_name": "EleutherAI/pythia-70m"}
    write_pickled(tmp_path, STATES[kind], **trainer, submodule_name="resid_post_layer_3")
    theirs = converted(sae_lens, monkeypatch, "dictionary_learning_sae_huggingface_loader_1", "any/one", tmp_path)
    sae = read_sae(tmp_path)
    agree(sae, theirs)
    assert sae.hook_point == theirs.cfg.metadata.hook_name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ours_in_sae_lens(sae_lens, tmp_path, architecture):
    sae = ours(architecture)
    write_saelens(sae, tmp_path / "ours", "pythia-70m")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "ours")
    agree(sae, theirs, encoded=False)
    agree(sae.fold_normalisation(), theirs)
    assert theirs.cfg.metadata.hook_name == sae.hook_point
    theirs.save_model(tmp_path / "theirs")
    back = read_sae(tmp_path / "theirs")
    agree(back, theirs)
    assert (back.config, back.seeds, back.hook_point) == (sae.config, sae.seeds, sae.hook_point)


@torch.no_grad()
def sparsify_reconstruction(theirs, x):
    """``encode`` and the sum that ``decode`` makes; not ``forward``, whose autocast asks for CUDA."""
    values, indices, _ = theirs.encode(x)
    dense = torch.zeros(len(x), theirs.num_latents).scatter(-1, indices, values)
    return dense @ theirs.W_dec + theirs.b_dec


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_by_sparsify(sparsify, tmp_path, dtype):
    cfg = sparsify.SparseCoderConfig(num_latents=N_LATENTS, k=K)
    theirs = shaken(sparsify.SparseCoder(D_IN, cfg)).to(dtype)
    theirs.save_to_disk(tmp_path / "layers.1.mlp")
    sae, x = read_sae(tmp_path / "layers.1.mlp"), activations()
    write_sparsify(sae, tmp_path / "back" / "layers.1.mlp")
    for same in (theirs.float(), sparsify.SparseCoder.load_many(tmp_path / "back", local=True)["layers.1.mlp"]):
        with torch.no_grad():
            assert_same(sae(x)[:, 0], sparsify_reconstruction(same, x))
    assert (sae.hook_point, sae.config.k) == ("blocks.1.mlp.hook_out", K)


def test_ours_in_sparsify(sparsify, tmp_path):
    stack, x = ours("topk", (0, 4)), activations()
    write_sparsify(stack, tmp_path / "layers.2.mlp")
    for i, seed in enumerate(stack.seeds):
        folder = tmp_path / "layers.2.mlp" / f"seed{seed}"
        theirs = sparsify.SparseCoder.load_from_disk(folder)
        with torch.no_grad():
            assert_same(sparsify_reconstruction(theirs, x), stack(x)[:, i])
        theirs.save_to_disk(tmp_path / "again" / "layers.2.mlp" / f"seed{seed}")
    back = read_sae(tmp_path / "again" / "layers.2.mlp")
    with torch.no_grad():
        assert_same(back(x), stack(x))
    assert (back.config.k, back.seeds, back.hook_point) == (K, stack.seeds, "blocks.2.mlp.hook_out")


def test_sparsify_at_its_own_width(sparsify, tmp_path):
    """num_latents=0 in the settings: the width is d_in times expansion_factor."""
    theirs = shaken(sparsify.SparseCoder(D_IN, sparsify.SparseCoderConfig(expansion_factor=3, k=K)))
    theirs.save_to_disk(tmp_path)
    assert read_sae(tmp_path).config.n_latents == 3 * D_IN


@pytest.mark.parametrize("changes", [{"transcode": True}, {"skip_connection": True}, {"activation": "groupmax"}])
def test_what_only_sparsify_has_is_refused(sparsify, tmp_path, changes):
    sparsify.SparseCoder(D_IN, sparsify.SparseCoderConfig(num_latents=N_LATENTS, k=4, **changes)).save_to_disk(tmp_path)
    assert f"{next(iter(changes))}=" in refused(tmp_path)


def test_matryoshka_loss_and_gradients_are_those_of_sae_lens(sae_lens):
    """Ours is in units of the batch's variance, theirs a mean over tokens."""
    saes = imported("sae_lens.saes.matryoshka_batchtopk_sae")
    settings = {"d_in": 5, "d_sae": 12, "k": 3, "matryoshka_widths": [2, 5, 12], "dtype": "float64"}
    config = saes.MatryoshkaBatchTopKTrainingSAEConfig(
        **settings, apply_b_dec_to_input=True, rescale_acts_by_decoder_norm=False
    )
    theirs = saes.MatryoshkaBatchTopKTrainingSAE(config)
    mine = SAE.create(Matryoshka(5, 12, "batch_topk", 3, widths=(2, 5, 12)), [0]).double()
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(40, 5, generator=generator, dtype=torch.float64) + 0.5
    with torch.no_grad():
        for p in mine.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
            getattr(theirs, name).copy_(getattr(mine, name)[0])
    out = theirs.training_forward_pass(imported("sae_lens.saes.sae").TrainStepInput(x, {}, None, 0, False))
    out.loss.backward()
    loss = mine.config.loss(mine, x, None, 0).loss
    loss.sum().backward()
    unit = len(x) / (x - x.mean(0)).pow(2).sum()
    torch.testing.assert_close(loss[0].detach(), unit * out.loss.detach())
    torch.testing.assert_close(mine.encoder.grad[0], unit * theirs.W_enc.grad.T)
    for name in ("W_dec", "b_enc", "b_dec"):
        torch.testing.assert_close(mine.get_parameter(name).grad[0], unit * getattr(theirs, name).grad)
