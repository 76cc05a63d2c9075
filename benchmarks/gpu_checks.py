"""Each path that has code or kernels of its own on CUDA, against its twin on the CPU. Run by benchmarks/gpu.py.

A difference is max |device - CPU| over max |CPU|, in float32 without TF32. The inputs are those of gpu_cases.py.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from gpu_cases import BATCH, CONFIGS, DEAD, FULL, SMALL, WIDE, KernelSize, clear_case, encoder_arguments, stack
from torch import Tensor

from sae_utils.data.activations import ActivationStream, TensorSource, build_cache
from sae_utils.data.models import SITES
from sae_utils.data.models.language_model import load_language_model
from sae_utils.saes import SAE, SAEConfig, cross_entropy_recovered, evaluate, kernels
from sae_utils.saes.losses import training_loss
from sae_utils.saes.training import TrainingConfig, load_sae, save_sae, train, trainer
from sae_utils.saes.training.recorded import is_recordable

FORWARD, GRADIENT, EXACT = 1e-5, 1e-4, 0.0  # tolerances
OTHERS = 1e-3  # share of (token, dictionary) in which the search may choose other latents; two sums may be equal
STEPS = 20  # of the training runs


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance; nan is not."""
        return self.difference <= self.tolerance

    def __str__(self) -> str:
        verdict = "PASS" if self.passed else "FAIL"
        return f"{verdict}  {self.name:<52} max difference {self.difference:8.1e}  tolerance {self.tolerance:.0e}"


def difference(ours: Tensor, reference: Tensor) -> float:
    """Max |ours - reference| / max |reference| in float64; inf for another shape, nan for nan."""
    if ours.shape != reference.shape:
        return float("inf")
    ours, reference = ours.detach().cpu().double(), reference.detach().cpu().double()
    return ((ours - reference).abs().max() / reference.abs().max().clamp_min(1e-30)).item()


def check_all(device: str, small: bool) -> Iterator[Check]:
    """All checks, in order, each as soon as it is done."""
    yield from check_choices(device, SMALL if small else FULL)
    yield from check_sums(device, SMALL if small else FULL)
    for name, config in CONFIGS.items():
        yield from check_architecture(device, name, config)
    for name, config in CONFIGS.items():
        yield from check_training(device, name, config)
    if device != "cpu":
        yield check_bfloat16(device)
    yield from check_checkpoints(device)
    yield from check_language_model(device, small)


def check_choices(device: str, size: KernelSize) -> Iterator[Check]:
    """top_k, encode_top_k, keep_top_k, keep_batch_top_k: what is chosen, whatever the order."""
    s, generator = size, torch.Generator().manual_seed(0)
    values = torch.randn(s.batch, s.members, s.n_latents, generator=generator)
    ours, reference = kernels.top_k(values.to(device), s.k), kernels.top_k(values, s.k)
    yield Check("top_k: values", difference(_sorted(ours[0]), _sorted(reference[0])), EXACT)
    gathered = values.gather(-1, ours[1].cpu())
    yield Check("top_k: indices point at the values", difference(ours[0], gathered), EXACT)
    arguments = encoder_arguments(s, generator)
    ours = kernels.encode_top_k(*_to(arguments, device), s.k)
    reference = kernels.encode_top_k(*arguments, s.k)
    yield Check("encode_top_k: values", difference(_sorted(ours[0]), _sorted(reference[0])), FORWARD)
    found = kernels.encode_top_k(*_to(arguments, device), s.k, search=torch.bfloat16)[1].cpu()
    others = (_sorted(found) != _sorted(reference[1])).any(-1).float().mean().item()
    yield Check("encode_top_k in bfloat16: share with other latents", others, OTHERS)

    values, latents = kernels.encode_top_k(*arguments, 4 * s.k)
    kept, pattern = kernels.keep_top_k(*_to((values, latents), device), s.n_latents)
    kept_cpu, pattern_cpu = kernels.keep_top_k(values, latents, s.n_latents)
    pairs = [(kept, kept_cpu), *zip(_parts(pattern, s), _parts(pattern_cpu, s), strict=True)]
    yield Check("keep_top_k: values and pattern", max(difference(*pair) for pair in pairs), EXACT)
    # Ranks in place of the values: of two equal ones at the boundary, each device may keep either.
    values = values.flatten().argsort().argsort().float().view(values.shape)
    kept, pattern, smallest, complete = kernels.keep_batch_top_k(*_to((values, latents), device), s.n_latents, s.k)
    kept_cpu, pattern_cpu, smallest_cpu, complete_cpu = kernels.keep_batch_top_k(values, latents, s.n_latents, s.k)
    pairs = [(kept, kept_cpu), (smallest, smallest_cpu), *zip(_parts(pattern, s), _parts(pattern_cpu, s), strict=True)]
    worst = max(difference(*pair) for pair in pairs)
    yield Check("keep_batch_top_k: values and pattern", worst if complete == complete_cpu else float("inf"), EXACT)


def check_sums(device: str, size: KernelSize) -> Iterator[Check]:
    """sparse_encode and sparse_decode with all their gradients, on the CPU's choice of latents."""
    s, generator = size, torch.Generator().manual_seed(1)
    arguments = encoder_arguments(s, generator)
    decoder = torch.randn(s.members, s.n_latents, s.d_in, generator=generator) / s.d_in**0.5
    upstream = torch.randn(s.batch * s.members, s.d_in, generator=generator)
    chosen = kernels.encode_top_k(*arguments, s.k)

    def run(where: str) -> dict[str, Tensor]:
        leaves = [t.detach().to(where).requires_grad_() for t in (*arguments, decoder)]
        values, pattern = kernels.keep_top_k(*_to(chosen, where), s.n_latents)
        code = kernels.sparse_encode(*leaves[:4], values, pattern)
        out = kernels.sparse_decode(code, leaves[4], pattern)
        out.backward(upstream.to(where))
        names = ("x", "encoder", "b_enc", "b_dec", "decoder")
        gradients = {f"gradient of {name}": t.grad.cpu() for name, t in zip(names, leaves, strict=True)}
        return {"sparse_encode": code.detach().cpu(), "sparse_decode": out.detach().cpu(), **gradients}

    ours, reference = run(device), run("cpu")
    for name in reference:
        kernel = name if name.startswith("sparse") else f"sparse_encode, sparse_decode: {name}"
        yield Check(kernel, difference(ours[name], reference[name]), GRADIENT if "grad" in name else FORWARD)
    again = run(device)
    worst = max(difference(again[name], ours[name]) for name in ours)
    yield Check("sparse_encode, sparse_decode: the same bits again", worst, EXACT)


def check_architecture(device: str, name: str, config: SAEConfig) -> Iterator[Check]:
    """Training loss, its gradients, and the reconstruction of one architecture."""
    reference, x = clear_case(config)
    ours = copy.deepcopy(reference).to(device)
    dead = torch.zeros(reference.b_enc.shape, dtype=torch.bool)
    dead[:, :DEAD] = True
    terms, terms_cpu = training_loss(ours, x.to(device), dead.to(device)), training_loss(reference, x, dead)
    terms.loss.sum().backward()
    terms_cpu.loss.sum().backward()
    pairs = [(getattr(terms, key), getattr(terms_cpu, key)) for key in ("loss", "fvu", "l0", "fired")]
    yield Check(f"{name}: loss, FVU, L0, fired", max(difference(*pair) for pair in pairs), FORWARD)
    grads = [(p.grad, q.grad) for p, q in zip(ours.parameters(), reference.parameters(), strict=True)]
    yield Check(f"{name}: gradients of the loss", max(difference(*pair) for pair in grads), GRADIENT)
    with torch.no_grad():
        yield Check(f"{name}: reconstruction", difference(ours(x.to(device)), reference(x)), FORWARD)


def check_training(device: str, name: str, config: SAEConfig) -> Iterator[Check]:
    """A short ``train()``: against the CPU, and twice on the device, bit for bit.

    Over steps the choices cannot be kept clear, and Adam gives a latent that hardly fires steps as large as the
    others'. So the losses are compared within 1e-4, and the way that the weights went within 1 % of its length.
    """
    start = stack(config)
    (sae, log), (again, _), (reference, log_cpu) = (_train(start, where) for where in (device, device, "cpu"))
    yield Check(f"{name}: losses of {STEPS} steps", difference(log.loss, log_cpu.loss), 1e-4)
    first, ours, theirs = (torch.cat([p.detach().cpu().flatten() for p in s.parameters()])
                           for s in (start, sae, reference))  # fmt: skip
    apart = ((ours - theirs).norm() / (theirs - first).norm()).item()
    yield Check(f"{name}: weights after {STEPS} steps (in norm)", apart, 1e-2)
    yield Check(f"{name}: trained again, the same bits", _state_difference(again, sae), EXACT)
    if is_recordable(sae) or device == "cpu":
        with mock.patch.object(trainer, "EAGER", STEPS):
            eager, _ = _train(start, device)
        yield Check(f"{name}: no step recorded, the same bits", _state_difference(eager, sae), EXACT)


def check_bfloat16(device: str) -> Check:
    """A dense architecture's products in bfloat16 against float32: FVU within 2 % all along."""
    start = stack(CONFIGS["relu"])
    (_, half), (_, single) = _train(start, device, bfloat16=True), _train(start, device)
    return Check(f"relu: FVU of {STEPS} steps, bfloat16 and float32", difference(half.fvu, single.fvu), 2e-2)


class Interrupted(Exception):
    """Raised by a source in the middle of a run."""


class Interrupting(TensorSource):
    """A source whose batches end with Interrupted after ``limit`` of them."""

    limit = 13

    def batches(self, *args, **kwargs):
        """The batches, then the exception."""
        for i, batch in enumerate(super().batches(*args, **kwargs)):
            if i == self.limit:
                raise Interrupted
            yield batch


def check_checkpoints(device: str) -> Iterator[Check]:
    """A training that was broken off and goes on from its checkpoint, and a saved stack, both bit for bit."""
    for name in ("topk", "relu", "topk, AuxK", "batch_topk", "topk, searched"):
        start = stack(CONFIGS.get(name, WIDE))
        whole, _ = _train(start, device)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "training.safetensors"
            try:
                _train(start, device, checkpoint, Interrupting)
            except Interrupted:
                resumed, _ = _train(start, device, checkpoint)
            save_sae(whole, Path(folder) / "sae.safetensors")
            loaded = load_sae(Path(folder) / "sae.safetensors", device)
        yield Check(f"{name}: resumed from a checkpoint, the same bits", _state_difference(resumed, whole), EXACT)
        yield Check(f"{name}: saved and loaded, the same bits", _state_difference(loaded, whole), EXACT)


def check_language_model(device: str, small: bool) -> Iterator[Check]:
    """The bundled model and what reads it: activations, loss, stream, cache, evaluation in the model."""
    ours, reference = load_language_model("pycode-2m", device), load_language_model("pycode-2m", "cpu")
    rows = np.random.default_rng(0).integers(1, reference.n_vocab, (16, 64 if small else reference.context))
    tokens = torch.from_numpy(rows)
    hooks = [reference.hook_point(site, layer) for site in SITES for layer in (0, reference.n_layers - 1)]
    found, expected = ours.activations(tokens, hooks), reference.activations(tokens, hooks)
    yield Check("language model: activations", max(difference(found[h], expected[h]) for h in hooks), GRADIENT)
    yield Check("language model: loss", difference(ours.loss(tokens), reference.loss(tokens)), GRADIENT)

    hook = reference.hook_point("mlp_out", 3)
    stream = ActivationStream(reference, rows, [hook], block_rows=8)
    expected = _first(stream, hook, "cpu")
    batch = _first(ActivationStream(ours, rows, [hook], block_rows=8), hook, device)
    yield Check("activation stream: a batch", difference(batch, expected), GRADIENT)
    for where, model in (("", ours), (", model on the CPU", reference)):
        found = [_run(ActivationStream(model, rows, [hook], 8, prefetch=a), hook, device) for a in (False, True)]
        yield Check(f"activation stream: filled ahead{where}, the same bits", difference(*found), EXACT)
    stream = ActivationStream(ours, rows, [hook], 8, prefetch=True)
    config, start = TrainingConfig(STEPS * 64, 64), SAEConfig(stream.d_in[hook], 256, "topk", k=8)
    trained = []
    for eager in (trainer.EAGER, STEPS):
        with mock.patch.object(trainer, "EAGER", eager):
            trained.append(SAE.create(start, [0, 1], hook, stream.normalisation[hook]).to(device))
            train(trained[-1:], stream, config, progress=False)
    yield Check("steps recorded while a buffer is filled, the same bits", _state_difference(*trained), EXACT)
    with tempfile.TemporaryDirectory() as folder:
        cache = build_cache(folder, ours, rows, [hook], block_rows=8, progress=False)
        yield Check("activation cache (float16): a batch", difference(_first(cache, hook, device), expected), 1e-3)

    width = stream.d_in[hook]
    sae = SAE.create(SAEConfig(width, 2 * width, "topk", k=8), [0], hook, stream.normalisation[hook])
    moved = copy.deepcopy(sae).to(device)
    fvu, fvu_cpu = evaluate(moved, [batch]).fvu, evaluate(sae, [expected]).fvu
    yield Check("evaluate: FVU", difference(fvu, fvu_cpu), 1e-3)
    scores = [cross_entropy_recovered(m, [s], rows[:4])[0] for m, s in ((ours, moved), (reference, sae))]
    apart = abs(scores[0].replaced - scores[1].replaced) / scores[1].replaced
    yield Check("cross_entropy_recovered: loss when replaced", apart, 1e-3)


def _run(source: ActivationStream, hook: str, device: str) -> Tensor:
    """Batches of two fillings of each buffer, with work in between that the second must wait for."""
    batches = source.batches(BATCH, data_seed=0, device=device)
    return torch.stack([(x := next(batches)[hook]) @ x.T @ x for _ in range(2 * source.n_tokens // BATCH)])


def _sorted(values: Tensor) -> Tensor:
    return values.sort(dim=-1, descending=True).values


def _to(tensors, device: str) -> list[Tensor]:
    return [t.to(device) for t in tensors]


def _parts(pattern: kernels.Pattern, size: KernelSize) -> tuple[Tensor, ...]:
    rows = size.members * size.n_latents
    return (pattern.latents, pattern.starts, pattern.bags, *pattern.transposed(rows))


def _train(start: SAE, device: str, checkpoint: Path | None = None, source: Callable = TensorSource, **options):
    """A copy of ``start``, trained for STEPS steps on fixed activations; (stack, log)."""
    x = torch.randn(4096, start.config.d_in, generator=torch.Generator().manual_seed(3))
    config = TrainingConfig(STEPS * BATCH, BATCH, dead_after=1, log_every=1, checkpoint_every=10, **options)
    sae = copy.deepcopy(start).to(device)
    return sae, train([sae], source({"hook": x}), config, checkpoint, progress=False)[0]


def _state_difference(ours: SAE, reference: SAE) -> float:
    """0 only where both hold the same bits."""
    theirs = reference.state_dict()
    return max(0.0 if torch.equal(t, theirs[name]) else max(difference(t, theirs[name]), 1e-30)
               for name, t in ours.state_dict().items())  # fmt: skip


def _first(source, hook: str, device: str) -> Tensor:
    return next(source.batches(1024, 0, device=device))[hook]
