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
EXPLAINED = "explained_token"
EXPLAINED_AT = 9  # the latent whose rule names it
ROLE_AT = 11  # the latent whose rule reads the role, "docstring"
N_OTHERS = 3
FACTS = {
    "model": "made <b>up</b>",
    "hook_point": "blocks.0.hook_mlp_out",
    "dictionary": "topk, k = 4",
    "n_tokens": 1000,
    "n_others": N_OTHERS,
    "seed": 0,
    "partner_seed": 1,
    "rule_kinds": ["token", "previous token", "role"],
    "roles": ["keyword", "docstring"],
    "n_smaller": 20,
    "n_parts": 2,
}


def made_up(n: int = 40, n_meta: int = 6, n_contexts: int = 3, n_vocab: int = 300) -> dict[str, np.ndarray]:
    """Arrays of every kind. Latent 3 is dead; the first latents fire on the hostile tokens, each on its own.

    Latent 4 is alive and has no explanation.
    """
    rng = np.random.default_rng(0)
    texts = [*HOSTILE, PLANTED, *(f" word{i}" for i in range(n_vocab - len(HOSTILE) - 2)), EXPLAINED]
    words = np.arange(len(HOSTILE) + 1, n_vocab - 1)
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
    arrays |= _contexts(rng, np.flatnonzero(alive), n_contexts, words) | _rules(rng, alive & (np.arange(n) != 4), words)
    arrays["rules_token"][EXPLAINED_AT], arrays["rules_kind"][EXPLAINED_AT] = [words[0], n_vocab - 1], 1
    arrays["rules_token"][ROLE_AT], arrays["rules_role"][ROLE_AT, 0], arrays["rules_kind"][ROLE_AT] = -1, 1, 2
    arrays["rules_size"][ROLE_AT] = 1
    arrays["rules_random"] = np.where(np.isnan(arrays["rules_score"]), np.nan, rng.uniform(0.4, 0.6, n))
    arrays |= _other_seed(rng, arrays, words)
    return arrays | to_arrays({"vocabulary": lay_out([text.encode() for text in texts])})


def _contexts(rng, latents, n_contexts, words):
    """Windows of these latents: the strongest firing first, then one group after another."""
    of = np.repeat(latents, n_contexts)
    tokens, values = rng.choice(words, (len(of), 12)), rng.uniform(0, 2, (len(of), 12))
    tokens[:, 2] = np.arange(len(of)) % len(HOSTILE)
    values[rng.random(values.shape) < 0.6] = 0
    values[:, [5, 8]] = rng.uniform(0.1, 2, (len(of), 2))
    return {
        "contexts_latent": of,
        "contexts_group": np.tile(np.minimum(np.arange(n_contexts), 2), len(latents)),
        "contexts_tokens": tokens,
        "contexts_values": values,
        "contexts_peak": np.full(len(of), 5),
        "contexts_copies": rng.integers(1, 4, len(of)),
    }


def _rules(rng, has, words):
    """Rules that name two tokens and five in all."""
    n = len(has)
    return {
        "rules_kind": np.where(has, rng.integers(0, 2, n), -1),
        "rules_token": np.where(has[:, None], rng.choice(words, (n, 2)), -1),
        "rules_role": np.full((n, 2), -1),
        "rules_size": np.where(has, 5, 0),
        "rules_score": np.where(has, rng.uniform(0.5, 1, n), np.nan),
    }


def _other_seed(rng, arrays, words):
    """The dictionary of the partners, all of it alive, and which latents fire with which."""
    n = len(arrays["firings_frequency"])
    other = _contexts(rng, np.arange(n), 2, words) | _rules(rng, np.ones(n, dtype=bool), words)
    for name in ("firings_frequency", "firings_maximum"):
        other[name] = arrays[name].max() * rng.uniform(0.5, 1, n)
    other["firings_token"] = rng.choice(words, (n, 4))
    other["promotes_raised"] = rng.choice(words, (n, 5))
    other |= {"overlap_decoder": rng.uniform(0, 1, n), "overlap_encoder": rng.uniform(0, 1, n)}
    together = {
        "together_latent": (np.arange(n)[:, None] + np.array([5, 9, 14])) % n,
        "together_correlation": np.sort(rng.uniform(0, 1, (n, 3)))[:, ::-1],
        "together_share": rng.uniform(0, 1, (n, 3)),
    }
    return {f"other_{name}": values for name, values in other.items()} | together
