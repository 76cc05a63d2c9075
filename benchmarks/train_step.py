"""One training step of a stack of 8 TopK SAEs against 8 dense-autograd trainings, one after the other.

    python benchmarks/train_step.py [--repetitions 15]

Both do the same work on the same batch: loss, gradients, projection, clipping, Adam, unit-norm decoders, dead-latent
counters. They alternate within one run, and the figure is the median over repetitions of the pairwise ratio. The
losses of both are compared after the last step, so that a fast wrong answer cannot win.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from sae_utils.saes import SAE, SAEConfig
from sae_utils.saes.training import StackTrainer, TrainingConfig

SETTINGS = [(128, 1024, 16), (256, 4096, 32)]  # d_in, n_latents, k
STACK, BATCH, WARM_UP = 8, 2048, 3


class DenseTrainer:
    """A TopK SAE as a textbook writes it: every latent in every product, gradients by autograd."""

    def __init__(self, sae: SAE, config: TrainingConfig):
        self.k, self.config, self.lr = sae.config.k, config, StackTrainer(sae, config).lr
        tensors = sae.encoder[0], sae.W_dec[0], sae.b_enc[0], sae.b_dec[0]
        self.W_enc, self.W_dec, self.b_enc, self.b_dec = (t.detach().clone().requires_grad_() for t in tensors)
        self.parameters = [self.W_enc, self.W_dec, self.b_enc, self.b_dec]
        self.optimizer = torch.optim.Adam(self.parameters, lr=self.lr, fused=True)
        self.since_fired = torch.zeros(len(self.W_enc), dtype=torch.int64)

    def step(self, step: int, x: torch.Tensor) -> float:
        """One step; returns the loss before it."""
        pre = F.linear(x - self.b_dec, self.W_enc, self.b_enc)
        top = pre.topk(self.k, dim=-1, sorted=False)
        z = torch.zeros_like(pre).scatter(-1, top.indices, top.values.relu())
        x_hat = z @ self.W_dec + self.b_dec
        loss = (x_hat - x).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
        loss.backward()
        with torch.no_grad():
            parallel = (self.W_dec.grad * self.W_dec).sum(-1, keepdim=True)
            self.W_dec.grad -= parallel * self.W_dec
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * min(1.0, (step + 1) / (self.config.warmup * self.config.n_steps))
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            self.W_dec /= self.W_dec.norm(dim=-1, keepdim=True)
        self.since_fired += len(x)
        self.since_fired[(z > 0).any(0)] = 0
        return loss.item()


def timed(function) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(d_in: int, n_latents: int, k: int, repetitions: int) -> None:
    """Print one line for one setting."""
    torch.manual_seed(0)
    mixing = torch.randn(d_in, d_in) / d_in**0.5
    batches = [torch.randn(BATCH, d_in) @ mixing + 0.5 * torch.randn(BATCH, d_in) for _ in range(4)]
    config = TrainingConfig(n_tokens=1_000_000 * BATCH, batch_size=BATCH, warmup=0.001, decay=0.5, log_every=1)
    stack = SAE.create(SAEConfig(d_in, n_latents, "topk", k=k), range(STACK), "x")
    ours = StackTrainer(stack, config)
    dense = [DenseTrainer(stack.dictionary(i), config) for i in range(STACK)]
    times, losses = [], []
    for step in range(WARM_UP + repetitions):
        x = batches[step % len(batches)]
        sparse_seconds = timed(lambda step=step, x=x: ours.step(step, x))
        dense_seconds = timed(lambda step=step, x=x: losses.append([t.step(step, x) for t in dense]))
        if step >= WARM_UP:
            times.append((sparse_seconds, dense_seconds))
    difference = (torch.tensor(losses[-1]) - ours.rows[-1][0]).abs().max().item()
    if difference > 1e-4:
        raise SystemExit(f"error: the losses differ by {difference:.1e}; the two do not do the same work")
    sparse, plain = (statistics.median(column) for column in zip(*times, strict=True))
    ratios = sorted(b / a for a, b in times)
    print(
        f"d_in {d_in}, {n_latents} latents, k {k}: tokens x SAEs/s: stack of {STACK} {STACK * BATCH / sparse:,.0f}, "
        f"dense one by one {STACK * BATCH / plain:,.0f}; ratio {statistics.median(ratios):.2f} "
        f"(from {ratios[0]:.2f} to {ratios[-1]:.2f}); losses differ by {difference:.1e} after {len(losses)} steps"
    )


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="A stack of 8 TopK SAEs against 8 dense trainings.")
    parser.add_argument("--repetitions", type=int, default=15)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {BATCH}, float32")
    for setting in SETTINGS:
        compare(*setting, args.repetitions)


if __name__ == "__main__":
    main()
