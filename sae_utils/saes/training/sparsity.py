"""Bring architectures with a sparsity penalty to a wanted L0, so that they are compared at equal sparsity.

Under one coefficient L0 keeps falling as training goes on, at a pace of each architecture's own: a short pilot alone
would miss. So pilots of growing length, each with the whole schedule of the learning rate, follow the coefficient that
gives the wanted L0, and the last one is as long as the run itself. Pilots have one seed; all candidates of all
configurations are trained on the same batches in one pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import exp, inf, log
from pathlib import Path

from sae_utils.data.activations import ActivationSource
from sae_utils.errors import InputError
from sae_utils.saes.metrics import evaluate
from sae_utils.saes.sae import SAE, SAEConfig
from sae_utils.saes.training.store import train_or_load
from sae_utils.saes.training.trainer import TrainingConfig

# Where to begin, by architecture. A threshold learns by its logarithm, a learning rate at a time: from JumpReLU's usual
# start (0.05 in our units, as wide a kernel) a run of a few thousand steps hardly moves it, whatever the coefficient.
FIRST_GUESSES: dict[str, dict[str, float]] = {
    "relu": {"sparsity": 3.0},
    "gated": {"sparsity": 4.0},
    "jump_relu": {"sparsity": 1.0, "bandwidth": 1.0, "first_threshold": 1.0},
}
TOLERANCE = 0.1  # share of the target that L0 may miss it by
COEFFICIENTS = (1e-3, 1e3)  # between these a coefficient is looked for
LARGEST_STEP = 8.0  # factor between two tries
SLOPES = (-4.0, -0.25)  # of log L0 over log coefficient; two close pilots may say anything
USUAL_SLOPE = -1.0
SAME = 1e-6  # two log coefficients that differ by less are one
MAX_TRIES = 6  # passes over the whole run's length, the last one
EARLY_TRIES = 3  # over each other length


@dataclass(frozen=True)
class Stage:
    """Pilots of one length."""

    share: float  # of the run's tokens
    factors: tuple[float, ...]  # the first candidates, as multiples of the guess
    near: float  # more are tried until one's L0 is within this factor of the target


STAGES = (Stage(1 / 8, (0.6, 1.6), 1.4), Stage(1 / 2, (1.0,), 1.3), Stage(1.0, (1.0,), 1.12))


@dataclass(frozen=True)
class Pilot:
    """One candidate and what came of it."""

    n_tokens: int  # that it was trained on
    sparsity: float
    l0: float  # on held-out activations


@dataclass(frozen=True)
class Tuned:
    """A configuration with the coefficient that was found, and the pilots that led to it.

    ``l0`` is that of the longest pilot nearest to the target. The coefficient is moved once more from there, so the
    run itself should come closer; measure it, and say where it misses by more than ``TOLERANCE``.
    """

    config: SAEConfig
    l0: float
    pilots: tuple[Pilot, ...]


def tune_sparsity(
    configs: Sequence[SAEConfig],
    target_l0: float,
    source: ActivationSource,
    held_out: ActivationSource,
    hook_point: str,
    training: TrainingConfig,
    folder: Path,
    *,
    n_eval_tokens: int = 20_000,
    device: str = "cpu",
    progress: bool = True,
) -> list[Tuned]:
    """For each configuration the coefficient that gives ``target_l0`` after the run that ``training`` describes.

    The ``sparsity`` of each of ``configs`` is the first guess. L0 is measured on the first ``n_eval_tokens`` of
    ``held_out``. Pilots are kept in ``folder`` (``train_or_load``). Raises InputError for an architecture that has k
    instead, and for a target that no coefficient reaches.
    """
    for config in configs:
        _check(config, target_l0)
    searches = [_Search(config, log(target_l0)) for config in configs]
    for stage in STAGES:
        length = max(round(stage.share * training.n_tokens), training.batch_size)
        for one in searches:
            one.begin(length, stage)
        for _ in range(MAX_TRIES if length == training.n_tokens else EARLY_TRIES):
            tried = [(one, sparsity) for one in searches for sparsity in one.wanted]
            if not tried:
                break
            candidates = [replace(one.config, sparsity=sparsity) for one, sparsity in tried]
            units = source.normalisation[hook_point]
            new = [SAE.create(candidate, [0], hook_point, units).to(device) for candidate in candidates]
            stacks = train_or_load(new, source, replace(training, n_tokens=length), folder, progress)
            for (one, sparsity), sae in zip(tried, stacks, strict=True):
                one.pilots.append(Pilot(length, sparsity, _held_out_l0(sae, held_out, training, n_eval_tokens)))
            for one in searches:
                one.judge()
    return [one.result() for one in searches]


def _check(config: SAEConfig, target_l0: float) -> None:
    if config.architecture not in FIRST_GUESSES:
        raise InputError(
            f"architecture={config.architecture!r} has no coefficient to tune: set k={target_l0:g} instead"
        )
    if not 0 < target_l0 < config.n_latents:
        raise InputError(f"target_l0={target_l0} must be above 0 and below n_latents={config.n_latents}")
    if not COEFFICIENTS[0] <= config.sparsity <= COEFFICIENTS[1]:
        low, high = COEFFICIENTS
        raise InputError(f"sparsity={config.sparsity} is the first guess and must be from {low:g} to {high:g}")


def _held_out_l0(sae: SAE, held_out: ActivationSource, training: TrainingConfig, n_tokens: int) -> float:
    n_batches = max(1, min(n_tokens, held_out.n_tokens) // training.batch_size)
    batches = islice(held_out.batches(training.batch_size, 0, device=sae.W_dec.device), n_batches)
    return evaluate(sae, (batch[sae.hook_point] for batch in batches)).l0.item()


class _Search:
    """The search for one configuration: its pilots so far, the present guess, and what to try next."""

    def __init__(self, config: SAEConfig, target: float):
        self.config, self.target = config, target  # of log L0
        self.pilots: list[Pilot] = []
        self.guesses: list[tuple[int, float]] = []  # (length, log coefficient), of each length that came near enough
        self.slope = USUAL_SLOPE
        self.wanted: list[float] = []  # coefficients to try next; none: done with this length

    def begin(self, length: int, stage: Stage) -> None:
        """Candidates of a new length, around the guess carried on to it."""
        self.length, self.near = length, stage.near
        guess = self._carried_on(length)
        self.wanted = sorted({_within(guess + log(factor)) for factor in stage.factors})

    def _carried_on(self, length: int) -> float:
        """The log coefficient that the last two lengths point to, on a line over the logarithm of the length."""
        if not self.guesses:
            return log(self.config.sparsity)
        last, end = self.guesses[-1]
        drift = 0.0
        if len(self.guesses) > 1:
            before, start = self.guesses[-2]
            drift = (end - start) / log(last / before) if last > before else 0.0
        return end + drift * log(length / last)

    def judge(self) -> None:
        """From this length's pilots, if it is not done with it: done, or the next coefficient to try.

        A length that is too short for the target says nothing about the run: the guess stays what it was.
        """
        if not self.wanted:
            return
        points = [(_log_l0(pilot) - self.target, log(pilot.sparsity)) for pilot in self._here()]
        guess = _within(self._towards(points))
        near = abs(points[0][0]) <= log(self.near)
        if near:
            self.guesses.append((self.length, log(guess)))
        tried = any(abs(log(guess) - at) < SAME for _, at in points)
        self.wanted = [] if near or tried else [guess]

    def _here(self) -> list[Pilot]:
        """The pilots of this length, the nearest to the target first."""
        here = [pilot for pilot in self.pilots if pilot.n_tokens == self.length]
        return sorted(here, key=lambda pilot: abs(_log_l0(pilot) - self.target))

    def _towards(self, points: list[tuple[float, float]]) -> float:
        """The log coefficient where log L0 should be the target's.

        ``points`` are (miss, log coefficient), the nearest first. On the line through the two nearest; half way
        between those on either side where the line leads out of there.
        """
        miss, nearest = points[0]
        if len(points) > 1 and points[1][1] != nearest:
            other_miss, other = points[1]
            slope = (other_miss - miss) / (other - nearest)
            self.slope = min(max(slope, SLOPES[0]), SLOPES[1])
        step = min(max(-miss / self.slope, -log(LARGEST_STEP)), log(LARGEST_STEP))
        too_low = max((at for miss, at in points if miss > 0), default=-inf)
        too_high = min((at for miss, at in points if miss <= 0), default=inf)
        leads_away = abs(step) > SAME and not too_low + SAME < nearest + step < too_high - SAME
        return (too_low + too_high) / 2 if leads_away and -inf < too_low < too_high < inf else nearest + step

    def result(self) -> Tuned:
        """What was found; raises InputError, with what was reached, where no pilot of the last length came near."""
        best = self._here()[0]
        if self.length not in [length for length, _ in self.guesses]:
            raise InputError(
                f"target_l0={exp(self.target):g} is out of reach of {self.config.architecture!r} with "
                f"{self.config.n_latents} latents after {self.length} tokens: the nearest is L0 {best.l0:.2f}, at "
                f"sparsity={best.sparsity:.3g}"
            )
        return Tuned(replace(self.config, sparsity=exp(self.guesses[-1][1])), best.l0, tuple(self.pilots))


def _within(guess: float) -> float:
    """The coefficient of a log coefficient, kept between ``COEFFICIENTS``."""
    return min(max(exp(guess), COEFFICIENTS[0]), COEFFICIENTS[1])


def _log_l0(pilot: Pilot) -> float:
    return log(max(pilot.l0, 1e-3))
