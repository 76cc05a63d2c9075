"""The sparse assignment against dense solvers: wall time, peak memory, total cosine and proven gap.

    python benchmarks/matching.py 4096 8192 [--trained 4096] [--sae FILE ...] [--solvers sparse scipy lapx]

At each size one dictionary is random and half of the other are its copies, at cosines of 0.6 to 0.99. ``--trained``
trains two TopK SAEs of so many latents, which differ in their seed, on the bundled model's activations, unless
``results/cache`` has them already. ``--sae`` takes the first two members of a stack that ``save_sae`` wrote, or one
member each of two stacks. Every solver runs in a process of its own, so that the peak is its own. Times include the
cosines, which every solver needs, and not the making of the rows; the peak includes the imports and the rows, of
which ``rows`` alone is the floor. Where others use the machine, compare the processor's seconds. lapx is used if it
is installed.
"""

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from sae_utils.analysis.matching.assignment.assignment import assign
from sae_utils.saes.training import load_sae, save_sae

D_IN = 256
N_TOKENS, K, BASE_LR = 400_000, 16, 1.6e-3  # of the SAEs that are trained here; as in the tiny notebooks


def synthetic(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit rows, float64: half planted copies, half random."""
    generator = torch.Generator().manual_seed(0)
    a, b = (F.normalize(torch.randn(n, D_IN, dtype=torch.float64, generator=generator), dim=1) for _ in range(2))
    k = n // 2
    cosine = torch.rand(k, 1, dtype=torch.float64, generator=generator) * 0.39 + 0.6
    across = F.normalize(b[:k] - (b[:k] * a[:k]).sum(1, keepdim=True) * a[:k], dim=1)
    b[:k] = cosine * a[:k] + (1 - cosine**2).sqrt() * across
    return a, F.normalize(b[torch.randperm(n, generator=generator)], dim=1)


def trained(files: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit decoder rows of two trained dictionaries."""
    members = torch.cat([load_sae(Path(file)).W_dec.detach().double() for file in files])
    if len(members) < 2:
        raise SystemExit("error: --sae needs two dictionaries: a stack of two seeds, or two files")
    a, b = members[0], members[-1] if len(files) > 1 else members[1]
    return F.normalize(a, dim=1), F.normalize(b, dim=1)


def train_two(n: int) -> str:
    """The file of TopK SAEs of two seeds and ``n`` latents, trained on the output of an MLP of the bundled model."""
    from sae_utils.data.activations import open_source
    from sae_utils.data.models.language_model import load_language_model
    from sae_utils.data.text import token_rows
    from sae_utils.paths import RESULTS
    from sae_utils.saes import SAE, SAEConfig
    from sae_utils.saes.training import TrainingConfig, train_or_load

    cache, lm = RESULTS / "cache", load_language_model("pycode-2m")
    hook = lm.hook_point("mlp_out", 3)
    rows = token_rows("installed-python", lm.tokenizer, "train", -(-N_TOKENS // lm.context), lm.context, cache)
    source = open_source(lm, rows, [hook], cache)
    new = SAE.create(SAEConfig(source.d_in[hook], n, "topk", K), range(2), hook, source.normalisation[hook])
    file = cache / f"benchmark-matching-{n}.safetensors"
    save_sae(train_or_load([new], source, TrainingConfig(N_TOKENS, 1000, base_lr=BASE_LR), cache)[0], file)
    return str(file)


def solve(solver: str, a: torch.Tensor, b: torch.Tensor) -> dict:
    """Total cosine, and what the sparse solver says of itself."""
    if solver == "rows":
        return {"objective": float("nan")}
    if solver == "sparse":
        found = assign(a, b)
        return {"objective": found.objective, "gap": found.gap, "rounds": found.rounds, "edges": found.edges}
    cosine = (a @ b.T).numpy()
    if solver == "scipy":
        rows, columns = linear_sum_assignment(cosine, maximize=True)
    else:
        import lap

        columns = np.asarray(lap.lapjv(1 - cosine, return_cost=False)[0])
        rows = np.arange(len(a))
    return {"objective": float(cosine[rows, columns].sum())}


def measured(solver: str, n: int, files: list[str], threads: int) -> dict:
    """One solver in this process."""
    torch.set_num_threads(threads)
    a, b = trained(files) if files else synthetic(n)
    start, cpu = time.perf_counter(), time.process_time()
    result = solve(solver, a, b)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    unit = 2**30 if sys.platform == "darwin" else 2**20  # ru_maxrss is in bytes there and in KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {"seconds": seconds, "cpu": cpu, "peak_gib": peak, "shape": [len(a), len(b), a.shape[1]], **result}


def compare(n: int, args: argparse.Namespace) -> None:
    """Print one line for each solver on one pair of dictionaries."""
    results = {}
    for solver in ["rows", *args.solvers]:
        command = [sys.executable, __file__, str(n), "--threads", str(args.threads), "--child", solver]
        out = subprocess.run([*command, "--sae", *args.sae], stdout=subprocess.PIPE, text=True)
        if out.returncode:
            print(f"{solver}: failed with exit status {out.returncode}", flush=True)
            continue
        results[solver] = json.loads(out.stdout.splitlines()[-1])
        r = results[solver]
        line = f"{r['shape'][0]} x {r['shape'][1]}, d {r['shape'][2]}, {solver}: {r['seconds']:.2f} s"
        line += f" (processor {r['cpu']:.2f} s), peak {r['peak_gib']:.2f} GiB"
        if solver != "rows":
            line += f", mean cosine {r['objective'] / min(r['shape'][:2]):.6f}"
        if "gap" in r:
            line += f", gap {r['gap'] / r['objective']:.1e} of the total, {r['rounds']} rounds, {r['edges']} edges"
        elif "sparse" in results and solver != "rows":
            own = results["sparse"]
            line += f"; sparse: total differs by {abs(own['objective'] / r['objective'] - 1):.1e} of it"
            line += f", {r['seconds'] / own['seconds']:.1f} times faster"
        print(line, flush=True)


def main() -> None:
    """Command line: see the module's docstring."""
    solvers = ["sparse", "scipy"] + ["lapx"] * (importlib.util.find_spec("lap") is not None)
    parser = argparse.ArgumentParser(description="The sparse assignment against dense solvers.")
    parser.add_argument("sizes", type=int, nargs="*", help="latents of each synthetic dictionary")
    parser.add_argument("--trained", type=int, nargs="*", default=[], help="latents of SAEs to train here")
    parser.add_argument("--sae", nargs="*", default=[], help="files of trained SAEs")
    parser.add_argument("--solvers", nargs="+", default=solvers, choices=["sparse", "scipy", "lapx"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measured(args.child, args.sizes[0], args.sae, args.threads)))
        return
    if not (args.sizes or args.sae or args.trained):
        raise SystemExit("error: give sizes, --trained or --sae")
    print(f"torch {torch.__version__}, {args.threads} threads")
    files, args.sae = args.sae, []
    for n in args.sizes:
        compare(n, args)
    for given in [[train_two(n)] for n in args.trained] + [files] * bool(files):
        args.sae = given
        compare(0, args)


if __name__ == "__main__":
    main()
