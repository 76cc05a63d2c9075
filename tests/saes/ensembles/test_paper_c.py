from dataclasses import replace

import pytest
import torch
from helpers.synthetic_activations import planted

from sae_utils.analysis.concepts.probing import bags
from sae_utils.data.activations import TensorSource
from sae_utils.errors import InputError
from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.ensembles import Ensemble
from sae_utils.saes.ensembles.paper_c import Rivals, rival_cells, total_l0_cell
from sae_utils.saes.training import TrainingConfig, train
from sae_utils.saes.training.grid import Activations, Cell, train_cells

TRAINING = TrainingConfig(1280, 64)
READS = Activations(("h",), 2000)
SINGLE = Cell("single", SAEConfig(8, 12, "topk", 2), "h", tuple(range(5)), TRAINING, READS)


@pytest.fixture(scope="module")
def source():
    return TensorSource({"h": planted(2000, 8, 16)[0]})


def new(source, config=SINGLE.config, seeds=SINGLE.seeds):
    return SAE.create(config, seeds, "h", source.normalisation["h"])


@pytest.fixture(scope="module")
def rivals(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    return Rivals.of(train_cells(rival_cells(SINGLE, 2, 2), {READS: source}, folder, progress=False), 2, 2)


def test_singles_are_the_stack_that_was_asked_for(rivals, source):
    alone = new(source)
    train([alone], source, TRAINING, progress=False)
    assert torch.equal(rivals.single.W_dec, alone.W_dec)
    assert torch.equal(rivals.untrained.W_dec, new(source).W_dec[:2])


def test_each_is_as_wide_as_an_ensemble_and_begins_with_its_first_member(rivals):
    """Expanded ones are as sparse as a single one."""
    assert list(rivals.dictionaries()) == ["single", "boosting 0", "boosting 1", "expanded", "untrained"]
    for r, ensemble in enumerate(rivals.boosting):
        assert len(ensemble.members) == 2 and ensemble.sequential and ensemble.config.n_latents == 24
        assert torch.equal(ensemble.members[0].W_dec[0], rivals.single.W_dec[2 * r])
    assert rivals.expanded.config == SAEConfig(8, 24, "topk", 2) and rivals.expanded.n_dictionaries == 2


def test_total_l0_is_that_of_an_ensemble_on_the_tokens_of_a_member(source, tmp_path):
    cell = total_l0_cell(SINGLE, 2, 2)
    found = train_cells([cell], {READS: source}, tmp_path, progress=False)[cell.name]
    alone = new(source, SAEConfig(8, 24, "topk", 4), [0, 1])
    train([alone], source, TRAINING, progress=False)
    assert found.config == alone.config and torch.equal(found.W_dec, alone.W_dec)
    x = source.read(torch.arange(30).numpy())["h"][:, 0]
    assert found.encode(x).values.shape[-1] == 2 * new(source).encode(x).values.shape[-1]


def test_codes_of_bags_are_those_of_the_ensembles(rivals, source):
    x = source.read(torch.arange(30).numpy())["h"][:, 0]
    codes = rivals.single.encode(x).dense(12).numpy()
    for r in range(2):
        ensemble = Ensemble.bag(rivals.single, [2 * r, 2 * r + 1])
        expected = ensemble.encode(x).dense(24)[:, 0].numpy()
        assert bags(codes, 2)[:, r] == pytest.approx(expected, abs=1e-6)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="architecture relu has no k"):
        total_l0_cell(replace(SINGLE, config=SAEConfig(8, 12, "relu", sparsity=0.1)), 2, 1)
    with pytest.raises(InputError, match="2 ensembles of 3 need 6 dictionaries, and there are 5"):
        rival_cells(SINGLE, 3, 2)
