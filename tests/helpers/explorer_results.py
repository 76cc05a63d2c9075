"""Results to explore, made up: hostile tokens, a planted one, a dead latent."""

import numpy as np

from sae_utils.analysis.latents.pages import lay_out, to_arrays

HOSTILE = [
    "<img src=x onerror=document.title='owned'>",
    "</script><script>document.title='owned'</script>",
    "a\u2028b",
    "\u202eabc",
    "{{data}}",
    "&lt;b&gt;",
    "\n\n",
    "\x00",
]
PLANTED = "planted_token"
PLANTED_AT = 7  # the latent that fires on it
N_OTHERS = 3
FACTS = {
    "model": "made <b>up</b>",
    "hook_point": "blocks.0.hook_mlp_out",
    "dictionary": "topk, k = 4",
    "n_tokens": 1000,
    "n_others": N_OTHERS,
    "partner_seed": 1,
    "n_smaller": 20,
    "n_parts": 2,
}


def made_up(
    n: int = 40, n_meta: int = 6, n_contexts: int = 3, n_vocab: int = 300, seed: int = 0
) -> dict[str, np.ndarray]:
    """Arrays of every group. Latent 3 is dead; the first latents fire on the hostile tokens, each on its own."""
    rng = np.random.default_rng(seed)
    texts = [*HOSTILE, PLANTED, *(f" word{i}" for i in range(n_vocab - len(HOSTILE) - 1))]
    words = np.arange(len(HOSTILE) + 1, n_vocab)
    alive = np.arange(n) != 3
    arrays = {
        "firings_frequency": 10 ** rng.uniform(-5, -1, n) * alive,
        "firings_mean": rng.uniform(0.5, 1, n) * alive,
        "firings_maximum": rng.uniform(2, 4, n) * alive,
        "firings_histogram": rng.integers(0, 900, (n, 8)) * alive[:, None],
        "firings_token": np.where(alive[:, None], rng.choice(words, (n, 4)), -1),
        "firings_token_share": np.sort(rng.dirichlet(np.ones(5), n)[:, :4])[:, ::-1],
        "neighbours_latent": (np.arange(n)[:, None] + np.arange(1, 4)) % n,
        "neighbours_cosine": np.sort(rng.uniform(-0.2, 1, (n, 3)))[:, ::-1],
        "partners_decoder_latent": np.where(alive, rng.permutation(n), -1),
        "partners_decoder_cosine": np.where(alive, rng.uniform(0, 1, n), np.nan),
        "partners_encoder_latent": np.where(alive, rng.permutation(n), -1),
        "partners_encoder_cosine": np.where(alive, rng.uniform(0, 1, n), np.nan),
        "partners_strict": rng.random(n) < 0.5,
        "partners_shared_with": rng.integers(0, N_OTHERS + 1, n) * alive,
        "novelty_novel": rng.random(n) < 0.5,
        "novelty_nearest": rng.integers(0, 20, n),
        "novelty_cosine": rng.uniform(0, 1, n),
        "novelty_mse_change": rng.uniform(-0.1, 0.1, n),
        "composition_latent": np.where(
            rng.random((n, 3)) < 0.8, (rng.integers(0, n_meta, (n, 1)) + np.arange(3)) % n_meta, -1
        ),
        "composition_weight": rng.uniform(0.1, 1, (n, 3)),
    }
    for i in range(len(HOSTILE)):
        arrays["firings_token"][i, 0] = i
    arrays["firings_token"][PLANTED_AT, 0] = len(HOSTILE)
    for group, count in (("promotes", n), ("meta", n_meta)):
        for side, sign in (("raised", 1), ("lowered", -1)):
            arrays[f"{group}_{side}"] = rng.choice(words, (count, 5))
            arrays[f"{group}_{side}_logit"] = sign * -np.sort(-rng.uniform(0, 9, (count, 5)))
    of = np.repeat(np.flatnonzero(alive), n_contexts)
    tokens, values = rng.choice(words, (len(of), 12)), rng.uniform(0, 2, (len(of), 12))
    tokens[:, 2] = np.arange(len(of)) % len(HOSTILE)
    values[rng.random(values.shape) < 0.6] = 0
    values[:, [5, 8]] = rng.uniform(0.1, 2, (len(of), 2))
    arrays |= {
        "contexts_latent": of,
        "contexts_group": np.tile(np.minimum(np.arange(n_contexts), 2), int(alive.sum())),
        "contexts_tokens": tokens,
        "contexts_values": values,
        "contexts_peak": np.full(len(of), 5),
        "contexts_copies": rng.integers(1, 4, len(of)),
    }
    return arrays | to_arrays({"vocabulary": lay_out([text.encode() for text in texts])})
