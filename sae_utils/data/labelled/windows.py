"""Labelled windows of text for probing: sides that share no file, balanced tasks, combinations of two labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from jaxtyping import Bool, Int

from sae_utils.errors import InputError

NEITHER = -1  # the label of a window that is no clear case of either class
FEWEST = 10  # windows of a class, below which an accuracy says nothing


@dataclass(frozen=True)
class LabelledWindows:
    """Windows of one length, rows as a ``RowMaker`` makes them; ``labels`` maps a concept to 1, 0 or NEITHER for each.

    Shorter texts are filled up with the end-of-text token. Windows of one ``group`` (a file with its near-duplicates)
    are on one side. Raises InputError where the arrays do not fit or a group is on both sides.
    """

    tokens: Int[np.ndarray, "n context"]
    groups: Int[np.ndarray, " n"]
    test: Bool[np.ndarray, " n"]
    labels: Mapping[str, Int[np.ndarray, " n"]]

    def __post_init__(self):
        for name, array in {"groups": self.groups, "test": self.test, **self.labels}.items():
            if len(array) != len(self.tokens):
                raise InputError(f"there are {len(self.tokens)} windows but {len(array)} values of {name!r}")
        both = np.intersect1d(self.groups[self.test], self.groups[~self.test])
        if len(both):
            raise InputError(f"{len(both)} groups have windows on both sides, so test text would be known in training")

    def label(self, name: str) -> Int[np.ndarray, " n"]:
        """Labels of one concept; raises InputError for a name that is not there."""
        if name not in self.labels:
            raise InputError(f"no concept {name!r}; there are {', '.join(self.labels)}")
        return self.labels[name]


class _Sides:
    """Numbers of windows, ``train`` and ``test``."""

    def renumbered(self, rows: Int[np.ndarray, " rows"]) -> Self:
        """The same windows where window ``rows[i]`` (ascending) is called i. Raises InputError for others."""
        return replace(self, train=_position(rows, self.train), test=_position(rows, self.test))


@dataclass(frozen=True)
class Task(_Sides):
    """Windows (their numbers) to train a probe on and to test it on, with labels; half of each is positive."""

    name: str
    train: Int[np.ndarray, " n_train"]
    train_labels: Bool[np.ndarray, " n_train"]
    test: Int[np.ndarray, " n_test"]
    test_labels: Bool[np.ndarray, " n_test"]

    @property
    def majority(self) -> float:
        """Accuracy on the test windows of always saying the class that is the more frequent in training."""
        return float((self.test_labels == (self.train_labels.mean() > 0.5)).mean())


def balanced_tasks(
    windows: LabelledWindows, concepts: Mapping[str, Sequence[str]], n_train: int, n_test: int
) -> list[Task]:
    """A ``balanced_task`` for each concept, within the labels that it maps to.

    Raises InputError for fewer than two, of which nothing could be said about other tasks.
    """
    if len(concepts) < 2:
        raise InputError(f"two tasks or more are needed, and there are {len(concepts)}: {', '.join(concepts)}")
    return [balanced_task(windows, name, n_train, n_test, within) for name, within in concepts.items()]


def balanced_task(windows: LabelledWindows, name: str, n_train: int, n_test: int, within: Sequence[str] = ()) -> Task:
    """As many positive as negative windows, and as many within each combination of the labels ``within``.

    So the package, say, tells nothing about the label. At most ``n_train`` and ``n_test`` windows. Raises InputError
    where a side has fewer than FEWEST of a class.
    """
    rng, label = np.random.default_rng(0), windows.label(name)
    keys = np.array([windows.label(key) for key in within]).reshape(len(within), len(windows.tokens))
    combinations, combination = np.unique(keys, axis=1, return_inverse=True)
    sides = []
    for side, n in ((~windows.test, n_train), (windows.test, n_test)):
        drawn = []  # [pairs, 2]: a positive and a negative window of one combination, without replacement
        for i in range(combinations.shape[1]):
            here = side & (combination.ravel() == i)
            positive = rng.permutation(np.flatnonzero(here & (label == 1)))
            negative = rng.permutation(np.flatnonzero(here & (label == 0)))
            n_pairs = min(len(positive), len(negative))
            drawn.append(np.stack([positive[:n_pairs], negative[:n_pairs]], axis=1))
        pairs = rng.permutation(np.concatenate(drawn))[: n // 2]
        if len(pairs) < FEWEST:
            raise InputError(f"concept {name!r} has {len(pairs)} windows of each class on a side; needed: {FEWEST}")
        sides += [pairs.T.ravel(), np.repeat([True, False], len(pairs))]
    return Task(name, *sides)


@dataclass(frozen=True)
class Quadrants(_Sides):
    """Windows by the four combinations of two labels, equally many of each: ``train``, ``test`` [2, 2, n].

    The first axis is the label of the first attribute (0, 1), the second that of the second.
    """

    attributes: tuple[str, str]
    train: Int[np.ndarray, "2 2 n_train"]
    test: Int[np.ndarray, "2 2 n_test"]

    def swapped(self) -> "Quadrants":
        """The same windows with the attributes in the other order."""
        return Quadrants(self.attributes[::-1], self.train.swapaxes(0, 1), self.test.swapaxes(0, 1))


def quadrants(windows: LabelledWindows, first: str, second: str, n_train: int, n_test: int) -> Quadrants:
    """Equally many windows of each combination, at most ``n_train`` and ``n_test`` on a side.

    Raises InputError where a combination has fewer than FEWEST windows on a side.
    """
    rng = np.random.default_rng(0)
    a, b = windows.label(first), windows.label(second)
    sides = []
    for side, n in ((~windows.test, n_train), (windows.test, n_test)):
        members = [rng.permutation(np.flatnonzero(side & (a == i) & (b == j))) for i in (0, 1) for j in (0, 1)]
        count = min(n // 4, *map(len, members))
        if count < FEWEST:
            raise InputError(f"{first!r} and {second!r}: a combination has {count} windows on a side; needed: {FEWEST}")
        sides.append(np.stack([quarter[:count] for quarter in members]).reshape(2, 2, count))
    return Quadrants((first, second), *sides)


def used_rows(parts: Sequence[Task | Quadrants]) -> Int[np.ndarray, " rows"]:
    """The windows that any of the tasks or quadrants takes, ascending: no others need be pooled."""
    return np.unique(np.concatenate([rows.ravel() for part in parts for rows in (part.train, part.test)]))


def _position(rows: Int[np.ndarray, " rows"], wanted: np.ndarray) -> np.ndarray:
    """Where each wanted window is in ``rows``; raises InputError for one that is not there."""
    place = np.searchsorted(rows, wanted).clip(max=len(rows) - 1)
    if not (rows[place] == wanted).all():
        raise InputError(f"{int((rows[place] != wanted).sum())} windows are not among the {len(rows)} that were taken")
    return place
