import ast
from textwrap import dedent
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.tiny_language_model import family_tokenizer
from transformers import AutoTokenizer

from sae_utils.data.labelled.python_concepts import (
    CONTAINED,
    TASKS,
    cut,
    line_facts,
    line_starts,
    source_windows,
    window_labels,
)
from sae_utils.data.labelled.windows import NEITHER, balanced_task, quadrants
from sae_utils.data.text.installed_python import SourceFile, installed_files
from sae_utils.errors import InputError
from sae_utils.paths import MODELS
from sae_utils.run.parameters.presets import load_preset

SOURCE = dedent(
    '''\
    """A module
    on lines."""
    import os


    class TestThing(Base):
        """A class."""

        @mark
        def helper(self, x: int) -> str:
            for i in range(x):
                while i: i -= 1
            total: int = 0


    def test_it():
        assert [i for i in range(3)]


    async def other(x):
        async for y in x:
            pass
    '''
)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODELS / "pycode-2m")


def lines_where(fact):
    """Numbers of the marked lines, from 1."""
    return (np.flatnonzero(line_facts(SOURCE)[fact]) + 1).tolist()


def test_line_facts_by_hand():
    assert lines_where("docstring") == [1, 2, 7]
    assert lines_where("class") == list(range(6, 14))
    assert lines_where("test") == [*range(6, 14), 16, 17]
    assert lines_where("loop") == [11, 12, 21]  # a comprehension is no loop statement
    expected = {
        "function": [10, 16, 20],
        "import": [3],
        "decorator": [9],
        "assertion": [17],
        "comprehension": [17],
        "arithmetic": [],  # -= is none
        "number": [12, 13, 17],
    }
    assert {name: lines_where(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("if x > 1: pass", {"condition", "comparison", "number"}),
        ("x = a if b else None", {"None"}),
        ("raise f(key=True)", {"raise", "keyword argument"}),
        ("with open(x) as y: return {}[1.5]", {"context manager", "return", "dictionary", "subscript", "number"}),
        ("x = {i: -i * 2j for i in y}", {"comprehension", "arithmetic", "number"}),
        ("x = 'a string'", set()),
    ],
)
def test_what_a_line_contains(line, expected):
    facts = line_facts(f"def f():\n    {line}\n")
    assert {name for name in CONTAINED if facts[name][1]} == expected


def labels(first, last, path="sympy/a.py"):
    return window_labels(path, line_facts(SOURCE), slice(first - 1, last))


def test_window_labels_by_hand():
    assert labels(1, 2)["docstring"] == 1
    assert labels(3, 3)["docstring"] == 0
    assert labels(1, 3)["docstring"] == NEITHER  # 21 of 30 characters
    assert (labels(6, 13)["class"], labels(16, 17)["class"], labels(13, 16)["class"]) == (1, 0, NEITHER)
    assert (labels(16, 17)["test"], labels(20, 22)["test"], labels(17, 20)["test"]) == (1, 0, NEITHER)
    assert (labels(9, 11)["loop"], labels(16, 17)["loop"], labels(1, 2)["loop"]) == (1, 0, NEITHER)
    assert (labels(9, 11)["decorator"], labels(16, 17)["decorator"]) == (1, 0)


def test_package_labels():
    other = NEITHER
    packages = {"sympy": (1, 0, 0, 1), "pandas": (0, 1, 0, 0), "scipy": (0, 0, 1, other), "sklearn": (0, 0, 0, other)}
    for package, expected in packages.items():
        found = labels(1, 3, f"{package}/a.py")
        assert tuple(found[name] for name in ("sympy", "pandas", "scipy", "sympy_or_pandas")) == expected
    assert len({labels(1, 3, f"{package}/a.py")["package"] for package in packages}) == 4


def test_pieces_begin_at_lines_and_cover_the_text_until_a_file_is_long():
    text = "".join(f"line {i}\n" for i in range(100))
    starts = line_starts(text)
    pieces = cut(text, starts, 50)
    assert [a for a, _ in pieces[1:]] == [b for _, b in pieces[:-1]]
    assert (pieces[0][0], pieces[-1][1]) == (0, len(text))
    assert all(a in starts for a, _ in pieces)
    assert len(cut(text * 20, line_starts(text * 20), 50)) == 32


def test_line_starts_are_those_of_ast():
    text = "a = 1\r\nb = 2\rc = '\f'\n\x0cd = 3\n"
    starts = line_starts(text)
    for node in ast.parse(text).body:
        assert text[starts[node.lineno - 1] :].lstrip("\x0c").startswith(node.targets[0].id)


def files():
    """Ten files of each of two packages, whose windows are alike but for numbers; a copy; one that is no Python."""

    def code(name, n):
        return "".join(
            f"def {name}_{i}(value_{i}):\n    return {name}(value_{i}, '{name} number {i}')\n\n\n" for i in range(n)
        )

    made = [
        SourceFile(f"{p}/m{j}.py", code(f"{p}_{'abcdefghij'[j]}", 12)) for p in ("sympy", "pandas") for j in range(10)
    ]
    return [*made, SourceFile("sympy/copy.py", made[0].text), SourceFile("sympy/bad.py", "def broken(:\n" * 40)]


def test_windows_are_found_in_their_files_and_sides_share_no_file_or_copy(tokenizer):
    made = files()
    w = source_windows(tokenizer, 24, files=made)
    assert w.tokens.shape[1] == 24 and len(w.tokens) > 40
    texts = tokenizer.batch_decode(w.tokens)
    for text, sympy in zip(texts, w.labels["sympy"], strict=True):
        home = {file.path.split("/")[0] for file in made if text in file.text}
        assert home == {"sympy" if sympy else "pandas"}
    assert not any("broken" in text for text in texts)
    assert not set(w.groups[w.test]) & set(w.groups[~w.test])
    assert 0.2 < w.test.mean() < 0.6
    # Windows that are equal but for digits and white space count once.
    without_digits = ["".join(c for c in text if not c.isdigit()) for text in texts]
    assert len({" ".join(text.split()) for text in without_digits}) == len(w.tokens)
    assert len(source_windows(tokenizer, 24, files=made[:20]).tokens) == len(w.tokens), "the copy is no news"


def test_windows_begin_as_the_models_rows_do():
    tokenizer, text = family_tokenizer("llama"), "".join(file.text for file in files())
    w = source_windows(tokenizer, 24, files=files())
    assert len(w.tokens) > 40 and w.tokens.shape[1] == 24
    for window in tokenizer.batch_decode(w.tokens):
        assert window.startswith("<bos>") and window.removeprefix("<bos>") in text


def test_labels_of_source_need_offsets():
    with pytest.raises(InputError, match="^labels of source need a fast tokenizer, which says which characters "):
        source_windows(SimpleNamespace(is_fast=False), 24)


def test_a_third_of_the_held_out_source_has_twenty_tasks_and_every_pair_already(tokenizer):
    w = source_windows(tokenizer, 64, installed_files("held_out")[::3])
    assert len(TASKS) == 20
    for name, within in TASKS.items():
        task = balanced_task(w, name, 1000, 1000, within)
        assert len(task.train) >= 60 and len(task.test) >= 60, name
        assert len(np.unique(w.groups[task.test])) >= 20, name
    pairs = load_preset("laptop").overrides["07_spurious_correlations"]["attribute_pairs"]
    assert len(pairs) >= 10
    for pair in pairs:
        quadrants(w, *pair.split(" & "), 1000, 1000)  # refuses fewer than FEWEST windows of a combination
