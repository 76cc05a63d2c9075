"""Concepts in the held-out Python source whose labels Python itself gives: what ast says of each window of text."""

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from sae_utils.data.labelled.windows import NEITHER, LabelledWindows
from sae_utils.data.text import RowMaker, tokenise
from sae_utils.data.text.installed_python import SourceFile, installed_files, near_duplicate_groups, set_apart
from sae_utils.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
PACKAGES = ("sympy", "pandas", "scipy")  # those with the most held-out text
SPANS = ("docstring", "test", "class")  # concepts that a window lies within

# Concepts that a window contains: nodes of the syntax tree that begin on one of its lines.
NODES: dict[str, tuple[type[ast.AST], ...]] = {
    "loop": (ast.For, ast.AsyncFor, ast.While),
    "condition": (ast.If,),
    "return": (ast.Return,),
    "raise": (ast.Raise,),
    "import": (ast.Import, ast.ImportFrom),
    "assertion": (ast.Assert,),
    "context manager": (ast.With, ast.AsyncWith),
    "function": FUNCTIONS,
    "comprehension": (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
    "comparison": (ast.Compare,),
    "arithmetic": (ast.BinOp,),
    "subscript": (ast.Subscript,),
    "dictionary": (ast.Dict,),
    "keyword argument": (ast.keyword,),
}
CONSTANTS = {"number": (int, float, complex), "None": (type(None),)}  # by the type of the value; True is no number
CONTAINED = (*NODES, *CONSTANTS, "decorator")
# By the type of a node, or of a constant's value.
CONTAINED_BY = {kind: name for name, kinds in (NODES | CONSTANTS).items() for kind in kinds}

# A concept, and the other labels that its classes are balanced within: neither the package nor being a test tells it.
TASKS = {name: ("package",) if name == "test" else ("package", "test") for name in (*SPANS, *CONTAINED)}

TEST_SHARE = 0.4  # of each package's characters
CHARACTERS = 5  # of text that a token of a window is cut from; source has 3.2 on average, indented lines more
PER_FILE = 32  # windows of a file, at most, so that no file is most of a task
LONGEST = 50_000  # characters of a file: of a longer one few windows would be taken, and to parse it takes long
CLEAR = 0.9  # share of a window's characters that make it a docstring
FEW = 0.25  # share of docstring up to which a window counts as code


def source_windows(
    tokenizer: "PreTrainedTokenizerBase", context: int, files: Sequence[SourceFile] = ()
) -> LabelledWindows:
    """Rows of ``context`` tokens of held-out files, each from the beginning of a line, with all labels.

    Files that share much of their lines are one group, and groups are on one side, package by package. Windows that
    are equal but for white space and digits count once. ``files``: others than the held-out ones of the corpus.
    Raises InputError where the tokenizer does not say which characters a token covers.
    """
    if not tokenizer.is_fast:
        raise InputError("labels of source need a fast tokenizer, which says which characters a token covers")
    maker = RowMaker.of(tokenizer, context)
    files = [file for file in files or installed_files("held_out") if len(file.text) <= LONGEST]
    groups = near_duplicate_groups([file.text for file in files])
    side = _sides(files, groups)
    # Files are in the order of a hash, so which of two equal windows stays depends on no machine.
    first: dict[str, tuple] = {}
    for number, text, ids, labels in _windows(files, tokenizer, maker.width):
        first.setdefault(_normal(text), (number, ids, labels))
    numbers, tokens, labels = zip(*first.values(), strict=True) if first else ((), (), ())
    index = np.array(numbers, dtype=np.int64)
    return LabelledWindows(
        maker.rows(np.array(tokens, dtype=np.int32).reshape(-1, maker.width)),
        groups[index],
        side[index],
        {name: np.array([label[name] for label in labels], dtype=np.int8) for name in labels[0]} if labels else {},
    )


def _windows(files, tokenizer, width) -> Iterator[tuple[int, str, list[int], dict[str, int]]]:
    """(file, text, token ids, labels) of every window that is long enough."""
    for number, file in enumerate(files):
        starts = line_starts(file.text)
        pieces = cut(file.text, starts, CHARACTERS * width)
        encoded = tokenise(tokenizer, [file.text[a:b] for a, b in pieces], return_offsets_mapping=True)
        try:
            facts = line_facts(file.text)
        except SyntaxError:
            continue
        for (a, _), ids, offsets in zip(pieces, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            if len(ids) >= width:
                end = a + offsets[width - 1][1]
                lines = slice(*np.searchsorted(starts, [a, end], side="left"))
                yield number, file.text[a:end], ids[:width], window_labels(file.path, facts, lines)


def line_starts(text: str) -> Int[np.ndarray, " lines"]:
    """Index of the first character of each line, lines as ast counts them."""
    return np.array([0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))])


def cut(text: str, starts: Int[np.ndarray, " lines"], characters: int) -> list[tuple[int, int]]:
    """Pieces [start, end) of about ``characters``, each from the beginning of a line; PER_FILE of them, spread out."""
    edges = starts[np.searchsorted(starts, np.arange(0, len(text), characters)).clip(max=len(starts) - 1)]
    edges = np.unique(np.append(edges, len(text)))
    pieces = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    keep = np.unique(np.linspace(0, len(pieces) - 1, min(PER_FILE, len(pieces))).astype(int)) if pieces else []
    return [pieces[i] for i in keep]


def line_facts(text: str) -> dict[str, Float[np.ndarray, " lines"]]:
    """What ast says of each line of a file, 1 or 0; ``size`` is its characters without white space at the ends.

    ``docstring``, ``test`` (in a function ``test...`` or a class ``Test...``) and ``class`` mark the lines within; the
    names of ``CONTAINED`` those where one begins. Raises SyntaxError where the text is no Python.
    """
    lines = re.split(r"\r\n|\r|\n", text)
    facts = {"size": np.array([len(line.strip()) for line in lines], dtype=float)}
    facts |= {name: np.zeros(len(lines)) for name in TASKS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python no longer likes, in text that is not ours
        tree = ast.parse(text)
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS))
            and ast.get_docstring(node, clean=False) is not None
        ):
            _mark(facts["docstring"], node.body[0])
        if isinstance(node, ast.ClassDef):
            _mark(facts["class"], node)
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)):
            if node.name.startswith("Test" if isinstance(node, ast.ClassDef) else "test"):
                _mark(facts["test"], node)
            for decorator in node.decorator_list:
                facts["decorator"][decorator.lineno - 1] = 1
        told_by = node.value if isinstance(node, ast.Constant) else node
        if type(told_by) in CONTAINED_BY:
            facts[CONTAINED_BY[type(told_by)]][node.lineno - 1] = 1
    return facts


def window_labels(path: str, facts: dict[str, Float[np.ndarray, " lines"]], lines: slice) -> dict[str, int]:
    """Labels of the window that covers ``lines``, the last perhaps in part: 1, 0, or NEITHER where it is no clear case.

    A window is within a docstring, a test or a class as a whole, or not at all. It contains a loop, or has none: that
    is asked of code alone, for a docstring never contains one.
    """
    size = facts["size"][lines]
    share = {name: float((facts[name][lines] * size).sum() / max(1.0, size.sum())) for name in SPANS}  # of characters
    code = share["docstring"] <= FEW
    package = _package(path)
    return {
        **{name: int(package == name) for name in PACKAGES},
        "package": PACKAGES.index(package) + 1 if package in PACKAGES else 0,  # 0: the small ones together
        "sympy_or_pandas": {"sympy": 1, "pandas": 0}.get(package, NEITHER),
        "docstring": _clear(share["docstring"], CLEAR),
        "test": _clear(share["test"], 1.0),
        "class": _clear(share["class"], 1.0),
        **{name: int(facts[name][lines].any()) if code else NEITHER for name in CONTAINED},
    }


def _clear(share: float, least: float) -> int:
    return 1 if share >= least else 0 if share == 0 else NEITHER


def _mark(lines: Float[np.ndarray, " lines"], node: ast.stmt) -> None:
    """All lines of a statement, with its decorators."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    lines[first - 1 : node.end_lineno] = 1


def _package(path: str) -> str:
    return path.split("/")[0]


def _sides(files: Sequence[SourceFile], groups: Int[np.ndarray, " files"]) -> Bool[np.ndarray, " files"]:
    """Which files are for testing: whole groups, up to TEST_SHARE of each package's characters."""
    by_path = sorted(range(len(files)), key=lambda i: files[i].path)
    sizes = np.array([len(files[i].text) for i in by_path])
    test = np.zeros(len(files), dtype=bool)
    test[by_path] = set_apart([files[i].path for i in by_path], groups[by_path], sizes, TEST_SHARE, _package)
    return test


def _normal(text: str) -> str:
    """The text without what makes copies differ: white space and digits."""
    return re.sub(r"\d+", "0", " ".join(text.split()))
