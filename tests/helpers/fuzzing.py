"""What all fuzz tests share: the one property, how many inputs each test takes, and values that nobody expects."""

import copy
import json
import math
import os

import torch
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


@st.composite
def damages(draw):
    """One way in which a file is not what was written, as ``damaged`` takes it."""
    kind = draw(st.sampled_from(["cut", "flip", "insert", "drop", "replace"]))
    place = draw(st.floats(0, 1) | st.integers(0, 700))  # a share of the file, or a byte near its start: its header
    return (
        kind,
        place,
        draw(st.binary(min_size=1, max_size=6) | st.sampled_from([b"PK\x03\x04", b"\x80\x02", b"0", b"{}"])),
    )


def damaged(content: bytes, damage) -> bytes:
    """``content`` cut short, with other bytes, with more bytes, with fewer, or something else instead."""
    kind, place, other = damage
    at = min(int(place * len(content)) if isinstance(place, float) else place, len(content))
    match kind:
        case "cut":
            return content[:at]
        case "flip":
            return content[:at] + other[: len(content) - at] + content[at + len(other) :]
        case "insert":
            return content[:at] + other + content[at:]
        case "drop":
            return content[:at] + content[at + len(other) :]
        case "replace":
            return other


def with_header(content: bytes, change) -> bytes:
    """A safetensors file whose header, a JSON object, ``change`` has gone over."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    text = json.dumps(change(header)).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def spoiled(data, content: bytes, kind: str, checked: bool = True) -> bytes:
    """A file with damaged bytes or, by its ``kind`` "safetensors" or "json", with another header or other values.

    Weights that are under no checksum (``checked``) may be cut, but no byte in them is another one: nothing could tell.
    """
    if kind in ("safetensors", "json") and data.draw(st.booleans(), "values"):
        if kind == "json":
            return json.dumps(data.draw(altered(json.loads(content)))).encode()
        return with_header(content, lambda header: data.draw(altered(header)))
    damage = data.draw(damages())
    if kind == "safetensors" and not checked and damage[0] == "flip":
        header = 8 + int.from_bytes(content[:8], "little")
        return damaged(content[:header], damage)[:header] + content[header:]
    return damaged(content, damage)


def leaves(record, at=()) -> list[tuple]:
    """The places of all values in what JSON holds, deepest last."""
    inside = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    return [at, *(place for key, value in inside for place in leaves(value, (*at, key)))]


@st.composite
def altered(draw, record):
    """A copy of what JSON holds in which one value is another one, or a key or an item is gone or has another name."""
    record = copy.deepcopy(record)
    *path, last = draw(st.sampled_from([place for place in leaves(record) if place]))
    inside = record
    for key in path:
        inside = inside[key]
    how = draw(st.sampled_from(["value", "value", "gone", "renamed", "nearby"]))
    value = inside.pop(last) if how in ("gone", "renamed") else inside[last]
    if how == "renamed" and isinstance(inside, dict):
        inside[draw(st.sampled_from(["", f"{last}2", str(last)[1:], "b_enc", "weights"]))] = value
    if how == "value":
        inside[last] = draw(JSON)
    if how == "nearby":
        inside[last] = draw(near(value))
    return record


def near(value):
    """Values of the same kind as one in a file."""
    if isinstance(value, bool):
        return st.just(not value)
    if isinstance(value, int):
        return st.sampled_from([value + 1, value - 1, -value, 0, 2 * value, float(value), str(value)])
    if isinstance(value, str):
        return st.sampled_from([value + "x", value[:-1], value.upper(), "F16", "I32", "BF16", "BOOL", "relu", "topk"])
    return JSON


def other_tensors(data, tensors: dict, how: str) -> str:
    """Changes one of ``tensors`` as ``CHANGES`` says; gives its name."""
    name = data.draw(st.sampled_from(sorted(tensors)), "tensor")
    tensor = tensors.pop(name)
    if how == "another name":
        tensors[name + "2"] = tensor
    elif how != "gone":
        tensors[name] = CHANGES[how](tensor)
    return name


CHANGES = {
    "gone": None,
    "another name": None,
    "an axis more": lambda t: t[None],
    "turned round": lambda t: t.T.contiguous() if t.ndim == 2 else t.repeat(2),
    "cut": lambda t: t[:1].clone() if t.ndim else t,
    "empty": lambda t: t[:0].clone() if t.ndim else t[None][:0],
    "nan": lambda t: torch.full_like(t, torch.nan) if t.is_floating_point() else t - 100,
    "one infinite": lambda t: t.float() * torch.inf if t.ndim < 2 else t.index_fill(1, torch.tensor([0]), torch.inf),
    "whole numbers": lambda t: t.to(torch.int32) if t.is_floating_point() else t.float() + 0.5,
    "complex": lambda t: t.to(torch.complex64),
    "beyond float32": lambda t: t.double() * 1e300,
    "float64": lambda t: t.double() if t.is_floating_point() else t.long(),
    "float16": lambda t: t.half() if t.is_floating_point() else t.short(),
}
JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 100),
    st.sampled_from([2**31, 2**64, 10**30, 0.5, 1e300, float("nan"), float("inf"), "", "3", [], {}, [1, 2], {"a": 1}]),
    st.text(max_size=4),
)
