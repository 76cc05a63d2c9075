"""The real sae-lens and sparsify, where they are installed: saved there and read here, and back.

They are no requirement of this project: ``./run_all.sh test`` puts them beside it and runs this file by itself.
"""

import importlib.util
import json

import pytest
import torch
from foreign_files import D_IN, N_LATENTS, K, activations, assert_same, ours

from sae_utils.dictionary.formats.reading import read_sae
from sae_utils.dictionary.formats.saelens import write_saelens
from sae_utils.dictionary.formats.sparsify import write_sparsify

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
def agree(sae, theirs, encoded=True):
    """Reconstructions of ``theirs``, one SAE of SAELens, equal ours, and its codes too."""
    x = activations()
    code = theirs.encode(x)
    assert (code != 0).any() and (code == 0).any()
    assert_same(sae(x)[:, 0], theirs.decode(code))
    if encoded:
        assert_same(sae.encode(x).dense(N_LATENTS)[:, 0], code)


def their_settings(sae_lens, architecture, subtract):
    name = {"standard": "Standard", "gated": "Gated", "topk": "TopK", "jumprelu": "JumpReLU"}[architecture]
    extra = {"k": K} if architecture == "topk" else {}
    metadata = sae_lens.saes.sae.SAEMetadata(hook_name="blocks.1.hook_mlp_out", model_name="pythia-70m")
    config = getattr(sae_lens, f"{name}SAEConfig")
    cfg = config(d_in=D_IN, d_sae=N_LATENTS, apply_b_dec_to_input=subtract, metadata=metadata, **extra)
    return getattr(sae_lens, f"{name}SAE"), cfg


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("architecture", ["standard", "gated", "topk", "jumprelu"])
def test_saved_by_sae_lens(sae_lens, tmp_path, architecture, subtract):
    kind, cfg = their_settings(sae_lens, architecture, subtract)
    theirs = shaken(kind(cfg))
    theirs.save_model(tmp_path)
    sae = read_sae(tmp_path)
    agree(sae, theirs)
    assert sae.hook_point == "blocks.1.hook_mlp_out"
    write_saelens(sae, tmp_path / "back")
    agree(sae, sae_lens.SAE.load_from_disk(tmp_path / "back"))


def test_topk_chosen_by_value_times_norm(sae_lens, tmp_path):
    kind, cfg = their_settings(sae_lens, "topk", True)
    cfg.rescale_acts_by_decoder_norm = True
    theirs = shaken(kind(cfg))
    theirs.save_model(tmp_path)
    agree(read_sae(tmp_path), theirs)


def test_batchtopk_after_training_in_sae_lens(sae_lens, tmp_path):
    """Saved for inference it is their JumpReLU; its training checkpoint reads as the same function."""
    cfg = sae_lens.BatchTopKTrainingSAEConfig(d_in=D_IN, d_sae=N_LATENTS, k=K)
    training = shaken(sae_lens.BatchTopKTrainingSAE(cfg))
    training.topk_threshold.fill_(4.0)
    training.save_model(tmp_path / "training")
    training.save_inference_model(tmp_path / "inference")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "inference")
    assert json.loads((tmp_path / "inference" / "cfg.json").read_text())["architecture"] == "jumprelu"
    for name in ("inference", "training"):
        sae = read_sae(tmp_path / name)
        agree(sae, theirs)
        assert (sae.config.architecture, sae.config.k) == ("batch_topk", K)


@pytest.mark.parametrize("architecture", ["relu", "gated", "topk", "batch_topk", "jump_relu"])
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
    with torch.no_grad():
        assert_same(sae(x)[:, 0], sparsify_reconstruction(theirs.float(), x))
    assert (sae.hook_point, sae.config.k) == ("blocks.1.hook_mlp_out", K)


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
    assert (back.config.k, back.seeds, back.hook_point) == (K, stack.seeds, stack.hook_point)


def test_sparsify_at_its_own_width(sparsify, tmp_path):
    """num_latents=0 in the settings: the width is d_in times expansion_factor."""
    theirs = shaken(sparsify.SparseCoder(D_IN, sparsify.SparseCoderConfig(expansion_factor=3, k=K)))
    theirs.save_to_disk(tmp_path)
    assert read_sae(tmp_path).config.n_latents == 3 * D_IN
