"""What all fuzz tests share: the one property, how many inputs each test takes, and values that nobody expects."""

import math
import os

from hypothesis import settings
from hypothesis import strategies as st

from sae_utils.errors import InputError

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"  # by hand: other inputs each time, and twenty times as many


def examples(n: int) -> settings:
    """So many inputs, or twenty times as many with HYPOTHESIS_PROFILE=deep."""
    return settings(max_examples=n * (20 if DEEP else 1))


def or_refused(function, *args, **kwargs):
    """What ``function`` gives, or None where it raises an InputError of one line; any other exception goes on."""
    try:
        return function(*args, **kwargs)
    except InputError as error:
        line = str(error)
        assert line.strip() and len(line.splitlines()) == 1, f"not one line: {line!r}"
        return None


def finite(*values: float) -> bool:
    """Whether all are finite numbers."""
    return all(math.isfinite(value) for value in values)


NUMBERS = st.one_of(
    st.sampled_from(
        [0, 1, -1, 2, 3, 0.0, -0.0, 0.5, 1.0, 1e-46, 1e-300, 5e-324, 1e30, 1e39, 1e300, 2**31, 2**63, 10**30]
    ),
    st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    st.integers(-5, 70),
    st.floats(-2, 2, width=32),
)
ODD = st.one_of(
    NUMBERS,
    st.sampled_from([None, True, False, "", "1", "topk", "nan", b"1", (), [], {}, [1], (0.9, 0.999), 1j]),
    st.text(max_size=5),
)  # anything that a YAML file, a JSON file or a slip of the hand may put in a value's place
