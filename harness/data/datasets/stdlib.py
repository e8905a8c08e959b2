"""The built-in collection: documented functions of the Python standard library that is running.

The recipe is CodeSearchNet's (Husain et al., 2019): a query is the first sentence of a function's docstring, and its
document is the function's source without the docstring. Nothing is downloaded, and the same Python version gives the
same collection, which is why the version is the revision.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import platform
import re
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.base.errors import DatasetError
from harness.base.options import Options
from harness.data.datasets.dataset import Dataset

LEFT_OUT = frozenset({"distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo", "venv"})
"""Packages that distributions of Python leave out or ship apart: with them, one version would be many collections."""

TESTS = frozenset({"test", "tests", "idle_test"})

TRAIN_SHARE = 3
"""One query in this many is for training."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(kw_only=True, frozen=True)
class StandardLibrary(Options):
    """Read the standard library of the Python that is running.

    Parameters
    ----------
    min_words : int
        A docstring whose first sentence has fewer words is no query.
    min_lines : int
        A function with fewer lines, docstring and blank lines not counted, is no document.
    """

    min_words: int = 3
    min_lines: int = 3

    def load(self) -> Dataset:
        """Read and parse the library, which takes a second or two; raises `DatasetError` where there is none."""
        root = Path(sysconfig.get_paths()["stdlib"])
        entries = self.entries(root, sys.stdlib_module_names - LEFT_OUT)
        if not entries:
            raise DatasetError(f"{root} holds no documented function as Python source; use dataset=folder")
        queries = [entry for entry in entries if entry.sentence]
        test = [entry for entry in queries if not is_train(entry.name)]
        return Dataset.build(
            name="stdlib",
            revision=f"{platform.python_implementation()} {platform.python_version()}",
            doc_ids=[entry.name for entry in entries],
            # without the qualified name, which says in words what CodeSearchNet's recipe has the model find in code
            doc_texts=[entry.source for entry in entries],
            titles=[entry.name for entry in entries],
            query_ids=[entry.name for entry in test],
            query_texts=[entry.sentence for entry in test],
            qrels={entry.name: {entry.name: 1} for entry in test},
            train_query_texts=[entry.sentence for entry in queries if is_train(entry.name)],
            train_answers=[[entry.name] for entry in queries if is_train(entry.name)],
        )

    def entries(self, root: Path, packages: frozenset[str]) -> list[Entry]:
        """Return the functions of a folder of modules that pass the filters, in the order of their modules' names.

        A source that occurs twice is kept once. A sentence that documents several functions, or that stands in its
        own document (as a comment or in a name), is taken away; the documents stay.
        """
        entries: list[Entry] = []
        names: Counter[str] = Counter()
        sources: set[str] = set()
        for module, path in modules(root, packages):
            for entry in functions(path, module):
                words = re.findall(r"[^\W\d_]{2,}", entry.sentence)
                lines = sum(bool(line.strip()) for line in entry.source.splitlines())
                if len(words) < self.min_words or lines < self.min_lines or entry.source in sources:
                    continue
                sources.add(entry.source)
                names[entry.name] += 1
                # such as a property's setter, or one definition a platform
                number = f"#{names[entry.name]}" if names[entry.name] > 1 else ""
                entries.append(Entry(entry.name + number, entry.sentence, entry.source))
        users = Counter(_plain(entry.sentence) for entry in entries)
        return [
            entry
            if users[_plain(entry.sentence)] == 1 and _plain(entry.sentence) not in _plain(entry.source)
            else Entry(entry.name, "", entry.source)
            for entry in entries
        ]


@dataclass(frozen=True)
class Entry:
    """A function.

    Attributes
    ----------
    name : str
        Module and qualified name, such as "json.decoder.JSONDecoder.decode".
    sentence : str
        First sentence of its docstring.
    source : str
        Its source without any docstring, dedented. Decorators and comments are kept: they are what a reader of the
        code sees, and a decorator is part of what the function does.
    """

    name: str
    sentence: str
    source: str


def is_train(name: str) -> bool:
    """Whether a function's query is for training: decided by its name alone, so that it never changes."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % TRAIN_SHARE == 0


def modules(root: Path, packages: frozenset[str]) -> Iterator[tuple[str, Path]]:
    """Yield (dotted name, file) of the modules in some top-level packages, sorted; tests are left out."""
    for path in sorted(root.iterdir(), key=lambda entry: entry.stem):
        if path.stem in packages:
            yield from _modules(path, path.stem)


def _modules(path: Path, name: str) -> Iterator[tuple[str, Path]]:
    if path.suffix == ".py" and path.is_file():
        yield name.removesuffix(".__init__"), path
    elif path.name.isidentifier() and path.name not in TESTS and path.is_dir():
        for entry in sorted(path.iterdir()):
            yield from _modules(entry, f"{name}.{entry.stem}")


def functions(path: Path, module: str) -> Iterator[Entry]:
    """Yield the documented functions and methods of a file, in its order; none of a file that is not valid Python.

    Left out, as in CodeSearchNet: special methods and tests. Also functions inside functions, whose source is in
    their parent's document already.
    """
    try:
        raw = path.read_bytes()
        if b'"""' not in raw and b"'''" not in raw:
            return  # saves a third of the time
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        text = io.TextIOWrapper(io.BytesIO(raw), encoding, newline=None).read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in other people's strings
            tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines = text.split("\n")
    for name, node in _definitions(tree, module):
        if (docstring := ast.get_docstring(node, clean=False)) and not _is_left_out(node.name):
            sentence, source = first_sentence(docstring), _source(node, lines)
            if sentence and source:
                yield Entry(name, sentence, source)


def _definitions(parent: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    """Yield (dotted name, node) of functions and methods, also where an `if` or `try` chooses among definitions."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, Function):
            yield f"{prefix}.{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from _definitions(node, f"{prefix}.{node.name}")
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _definitions(node, prefix)


def _is_left_out(name: str) -> bool:
    return (name.startswith("__") and name.endswith("__")) or name.lower().lstrip("_").startswith("test")


def first_sentence(docstring: str) -> str:
    """Return the first sentence of a docstring's first paragraph on one line; "" where that is code, not prose."""
    paragraph = " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split())
    sentence = re.split(r"(?<=[\w)\]\"'`][.!?])\s+(?=[A-Z])", paragraph, maxsplit=1)[0]
    is_code = ">>>" in sentence or "->" in sentence or re.match(r"[\w.]+\(", sentence) is not None
    return "" if is_code else sentence


def _source(node: Function, lines: list[str]) -> str:
    """Return a function's lines, dedented and without docstrings; "" where a docstring shares its line with code."""
    first = min(decorator.lineno for decorator in [node, *node.decorator_list])
    dropped: set[int] = set()
    for inner in ast.walk(node):
        if not isinstance(inner, Function | ast.ClassDef) or ast.get_docstring(inner, clean=False) is None:
            continue
        statement = inner.body[0]
        last = statement.end_lineno or statement.lineno
        before = lines[statement.lineno - 1].encode()[: statement.col_offset]
        after = lines[last - 1].encode()[statement.end_col_offset :].strip()
        if before.strip() or (after and not after.startswith(b"#")):
            return ""
        while last < len(lines) and not lines[last].strip():
            last += 1
        dropped.update(range(statement.lineno, last + 1))
    kept = (lines[number - 1] for number in range(first, (node.end_lineno or first) + 1) if number not in dropped)
    margin = node.col_offset
    return "\n".join((line if line[:margin].strip() else line[margin:]).rstrip() for line in kept)


def _plain(text: str) -> str:
    """Return a text's words, by which sentences are compared; those of a name in snake case count as well."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))
