"""Training that stops where a loss or a weight is not finite, with one line and the last good checkpoint."""

import pytest
import torch
from helpers.random_saes import how_sparse
from helpers.synthetic_activations import planted

from sae_utils.data.activations import TensorSource
from sae_utils.errors import InputError
from sae_utils.saes import ARCHITECTURES, SAE, SAEConfig
from sae_utils.saes.training import Snapshots, StackTrainer, TrainingConfig, load_sae, save_sae, train, train_or_load
from sae_utils.saes.training.checkpoints import below, read_tensors
from sae_utils.saes.training.finite import NotFinite, Watch

NOT_FINITE = "the batch has an activation that is not finite or is too large for float32"


class Damaged(TensorSource):
    """A source one of whose batches, from 0, has a value that it should not have."""

    at, value = 6, float("nan")

    def batches(self, *args, first_batch=0, **kwargs):
        for i, batch in enumerate(super().batches(*args, first_batch=first_batch, **kwargs), first_batch):
            if i == self.at:
                batch["hook"][3, 5] = self.value
            yield batch


@pytest.fixture(scope="module")
def x():
    return planted(4096)[0]


def make(source, architecture="topk", seeds=(0, 1), **how):
    config = SAEConfig(24, 48, architecture, **how_sparse(architecture, 3, 0.05), **how)
    return SAE.create(config, seeds, "hook", source.normalisation["hook"])


def steps(n, **how):
    return TrainingConfig(n * 64, 64, **how)


def stopped(stacks, source, config, *args, **kwargs):
    """The line that training ends with."""
    with pytest.raises(InputError) as error:
        train(stacks, source, config, *args, progress=False, **kwargs)
    return str(error.value)


@pytest.fixture(params=[False, True], ids=["at once", "as on CUDA"])
def waits(request, monkeypatch):
    monkeypatch.setattr(Watch, "waits", property(lambda self: request.param))


DAMAGE = [*((name, float("nan")) for name in ARCHITECTURES), ("topk", float("inf")), ("relu", 1e30)]


@pytest.mark.parametrize(("architecture", "value"), DAMAGE)
def test_one_activation(x, waits, architecture, value):
    source = Damaged({"hook": x})
    source.value = value
    sae = make(source, architecture)
    line = stopped([sae], source, steps(20, log_every=5))
    assert line.startswith(f"training stopped at step 7: the loss of seeds 0, 1 ({architecture}, 48 latents, at ")
    assert line.endswith(f": {NOT_FINITE}; no checkpoint before")


def test_the_last_checkpoint_is_that_of_a_run_on_good_activations(x, waits, tmp_path):
    """Nothing later is kept, whenever the loss is looked at; the same call stops again."""
    source, file = Damaged({"hook": x}), tmp_path / "training"
    config = steps(20, log_every=4, checkpoint_every=5)
    seen = []
    shown = Snapshots((3 * 64, 8 * 64), lambda i, tokens, sae: seen.append(tokens))
    for _ in range(2):
        stacks = [make(source), make(source, "jump_relu", (4,))]
        line = stopped(stacks, source, config, file, snapshots=shown)
        assert line == (
            f"training stopped at step 7: the loss of seeds 0, 1 (topk, 48 latents, at 'hook') is nan: {NOT_FINITE}; "
            f"the last good checkpoint is {file}, of step 5"
        )
    assert seen == [3 * 64] * 2  # of two stacks, in the first call
    tensors, about = read_tensors(file, "training")
    good, whole = TensorSource({"hook": x}), make(source)
    at_five = Snapshots((5 * 64,), lambda i, tokens, sae: save_sae(sae, tmp_path / "5"))
    train([whole], good, config, progress=False, snapshots=at_five)
    expected = load_sae(tmp_path / "5").state_dict()
    assert about["step"] == 5
    assert all(torch.equal(tensor, expected[name]) for name, tensor in below(tensors, "0.sae.").items())


def test_weights_that_grow_without_bound(x, waits):
    source = TensorSource({"hook": x})
    sae = make(source, "relu", unit_norm_decoder=False)
    line = stopped([sae], source, steps(20, lr=1e18, warmup=0.0))
    assert line.startswith("training stopped at step 2: the loss of seeds 0, 1 (relu, 48 latents, at 'hook') is ")
    assert line.endswith(
        ": its weights are too large or not finite; a smaller learning rate may help; no checkpoint before"
    )


def test_one_dictionary_of_a_stack_is_named(x, waits):
    source = TensorSource({"hook": x})
    sae = make(source, "relu", seeds=(0, 7, 9))
    with torch.no_grad():
        sae.b_enc[1, 0] = torch.nan
    assert "step 1: the loss of seed 7 (relu, 48 latents" in stopped([sae], source, steps(20))


def test_activations_that_do_not_vary(x):
    source = TensorSource({"hook": x})
    sae = make(source)
    trainer = StackTrainer(sae, steps(10))
    with pytest.raises(NotFinite, match="is (inf|nan): the activations of the batch do not vary"):
        trainer.step(0, x[:1].expand(2, -1))


def test_weights_are_looked_at_before_they_are_kept(x, tmp_path, monkeypatch):
    """A last step from a finite loss to weights that are not, which no later loss would tell."""
    source = TensorSource({"hook": x})

    def step(self):
        self.param_groups[0]["params"][0].data[0, 0, 0] = torch.inf

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    line = stopped([make(source)], source, steps(1), tmp_path / "training")
    assert line == (
        "training stopped at step 1: sae.encoder of seeds 0, 1 (topk, 48 latents, at 'hook') is not finite after it; "
        "a smaller learning rate may help; no checkpoint before"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_store_keeps_nothing_of_it(x, tmp_path):
    source = Damaged({"hook": x})
    with pytest.raises(InputError, match="^training stopped at step 7: .*; no checkpoint before$"):
        train_or_load([make(source)], source, steps(20), tmp_path, progress=False)
    assert list(tmp_path.glob("*")) == []
