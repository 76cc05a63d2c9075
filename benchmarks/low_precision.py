"""Does a search for candidates in bfloat16 choose the latents that float32 chooses, and train the same dictionaries?

    python benchmarks/low_precision.py [--model smollm2-135m --layer 9 --device cuda --latents 32768]

Two seeds are trained twice on the same batches, with the search in float32 and in bfloat16. Then, on the last batches
and by margin of candidates: the share of tokens whose latents are not float64's. And of each training: explained
variance and what its two seeds share; and what a seed shares with itself, trained the other way.
"""

import argparse
import itertools
import time
from unittest import mock

import torch

from sae_utils.analysis.matching import Rows, compare
from sae_utils.data.activations import ActivationStream
from sae_utils.data.models.language_model import load_language_model
from sae_utils.data.text import token_rows
from sae_utils.saes import SAE, SAEConfig, evaluate, kernels
from sae_utils.saes.training import TrainingConfig, train

CONTEXT, K, MARGINS = 128, 32, (0, 4, 8, 16, 32)


def trained(source, hook: str, options: argparse.Namespace, search: torch.dtype) -> SAE:
    """Two seeds, trained with the search in one dtype."""
    sae = SAE.create(SAEConfig(source.d_in[hook], options.latents, "topk", K), [0, 1], hook, source.normalisation[hook])
    sae = sae.to(options.device)
    config = TrainingConfig(source.n_tokens // options.batch * options.batch, options.batch, base_lr=1.6e-3)
    start = time.perf_counter()
    with mock.patch.object(kernels, "search_dtype", lambda *_: search):
        (log,) = train([sae], source, config, progress=False)
    print(f"search in {search}: {time.perf_counter() - start:.0f} s, FVU of the last batch {log.fvu[-1].tolist()}")
    return sae


@torch.no_grad()
def chosen(sae: SAE, x: torch.Tensor, search: torch.dtype, margin: int = 0) -> torch.Tensor:
    """The k latents of each token and dictionary, ascending, by a search in one dtype and with so many candidates more.

    In float64 all is, the weights too.
    """
    inputs = sae.normalise(x), sae.encoder, sae.b_enc, sae.b_dec
    if search == torch.float64:
        inputs = [t.double() for t in inputs]
    with mock.patch.object(kernels, "candidates", lambda k, n_latents: min(k + margin, n_latents)):
        return kernels.encode_top_k(*inputs, K, search)[1].sort().values


def main() -> None:
    """Print one line for each question."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="pycode-2m")
    parser.add_argument("--corpus", default="installed-python")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--latents", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=1024)
    options = parser.parse_args()
    lm = load_language_model(options.model, options.device)
    hook = lm.hook_point("mlp_out", options.layer)
    rows = token_rows(options.corpus, lm.tokenizer, "train", options.tokens // CONTEXT, CONTEXT)
    source = ActivationStream(lm, rows, [hook])
    saes = [trained(source, hook, options, dtype) for dtype in (torch.float32, torch.bfloat16)]
    batches = [batch[hook] for batch in itertools.islice(source.batches(options.batch, 1, device=options.device), 8)]
    exact = chosen(saes[0], batches[0], torch.float64)

    def others_than_exact(*how) -> float:
        """Share of tokens and dictionaries whose latents are not float64's."""
        return (chosen(saes[0], batches[0], *how) != exact).any(-1).float().mean().item()

    others = {margin: others_than_exact(torch.bfloat16, margin) for margin in MARGINS}
    float32 = others_than_exact(torch.float32)
    print(f"tokens whose latents are not float64's: in float32 {float32:.1e}; in bfloat16, by margin: "
          f"{', '.join(f'{m}: {share:.1e}' for m, share in others.items())}")  # fmt: skip
    explained = [evaluate(sae, batches).explained_variance.tolist() for sae in saes]
    print(f"explained variance of two seeds: float32 {explained[0]}, bfloat16 {explained[1]}")
    encoders, decoders = (torch.cat([getattr(s, name).detach() for s in saes]) for name in ("encoder", "W_dec"))
    rows = [Rows(*one) for one in zip(encoders, decoders, strict=True)]
    pairs = {(i, j): compare(rows[i], rows[j]) for i, j in ((0, 1), (2, 3), (0, 2))}
    strict, cosine = ({pair: o.fraction(o.shared(c)) for pair, o in pairs.items()} for c in ("strict", "decoder_only"))
    print(f"two seeds share, float32: {strict[0, 1]:.3f} (decoders alone {cosine[0, 1]:.3f}), "
          f"bfloat16: {strict[2, 3]:.3f} ({cosine[2, 3]:.3f})")  # fmt: skip
    print(f"one seed, trained in both ways, shares: {strict[0, 2]:.3f} ({cosine[0, 2]:.3f})")


if __name__ == "__main__":
    main()
