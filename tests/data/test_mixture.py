"""Several sources of text by weight: what a corpus's name says, and which source each row is of."""

from fractions import Fraction

import numpy as np
import pytest

from sae_utils.data.mixture import row_order, sources
from sae_utils.errors import InputError


@pytest.mark.parametrize(
    ("corpus", "shares"),
    [
        ("installed-python", {"installed-python": 1}),
        ("owner/name:part", {"owner/name:part": 1}),
        ("c++ primer.txt", {"c++ primer.txt": 1}),
        ("", {"": 1}),
        ("0.7 installed-python + 0.3 ~/a b.txt", {"installed-python": Fraction(7, 10), "~/a b.txt": Fraction(3, 10)}),
        ("2 a/b  +\n 1 c.jsonl + .5 d", {"a/b": Fraction(4, 7), "c.jsonl": Fraction(2, 7), "d": Fraction(1, 7)}),
    ],
)
def test_sources_and_their_shares(corpus, shares):
    assert sources(corpus) == shares and list(sources(corpus)) == list(shares)


def test_a_file_that_is_there_is_one_source_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("0.7 a + 0.3 b.txt", "2 a.txt"):
        (tmp_path / name).touch()
        assert sources(name) == {name: 1}
    assert sources("1 2 a.txt + 3 c") == {"2 a.txt": Fraction(1, 4), "c": Fraction(3, 4)}


EXAMPLE = "as in '0.7 installed-python + 0.3 english.txt'"


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        ("0.7 a", f"has a weight for one source alone: write 'a', or several {EXAMPLE}; or there is no such file"),
        ("3 mice.txt", f"has a weight for one source alone: write 'mice.txt', or several {EXAMPLE}; or there is no"),
        ("0 a.txt", f"has '0 a.txt', which is not a weight above 0 and a source, {EXAMPLE}; or there is no such file"),
        ("a + 0.3 b", f"has 'a', which is not a weight above 0 and a source, {EXAMPLE}"),
        *(
            (f"0.7 a + {part}", f"has '{part}', which is not a weight above 0 and a source, {EXAMPLE}")
            for part in ("b", "0.3", "0 b", "0.0 b", "-1 b", "nan b", "inf b", "1e3 b", "1/2 b", "30% b", "x b")
        ),
        ("0.7 a + ", "has a weight for one source alone"),
        ("1 a + 1 b + 2 a", "has the source 'a' twice"),
        ("1 a.txt + 1 ./a.txt", "has the source './a.txt' twice"),
        ("0.5 (1 a + 1 b) + 0.5 c", "has '(1 a' for a source, which is to be one corpus and no mixture"),
        ("0.5 0.5 a + 0.5 c", "has '0.5 a' for a source, which is to be one corpus and no mixture"),
    ],
)
def test_what_is_no_mixture_is_refused(corpus, said):
    with pytest.raises(InputError) as error:
        sources(corpus)
    assert str(error.value).startswith(said)


def divisors(shares, n_rows):
    """Row by row, the source whose next row is due first, in exact arithmetic."""
    order, counts = [], [0] * len(shares)
    for _ in range(n_rows):
        i = min(range(len(shares)), key=lambda i: (counts[i] + Fraction(1, 2)) / shares[i])
        counts[i] += 1
        order.append(i)
    return order


@pytest.mark.parametrize("weights", [(7, 3), (1, 1), (3, 7), (1, 99), (5, 3, 2), (1, 1, 1, 4), (123457, 654321)])
def test_every_beginning_has_the_shares(weights):
    shares = [Fraction(weight, sum(weights)) for weight in weights]
    order = row_order(shares, 1000)
    assert order.tolist() == divisors(shares, 1000)
    counts = np.cumsum(order[:, None] == np.arange(len(shares)), axis=0)
    due = np.outer(np.arange(1, 1001), np.array(shares, dtype=float))
    assert np.abs(counts - due).max() <= (0.5 if len(shares) == 2 else 1) + 1e-9
    for n_rows in (1, 9, 10, 11, 250):
        assert row_order(shares, n_rows).tolist() == order[:n_rows].tolist()
