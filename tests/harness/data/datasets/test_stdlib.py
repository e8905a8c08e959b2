import os
import platform
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from harness.data.datasets import Dataset
from harness.data.datasets.stdlib import LEFT_OUT, Entry, StandardLibrary, first_sentence, functions, is_train, modules
from harness.runs.config import build
from tests.conftest import ROOT

SOURCE = '''\
"""A module."""
import functools


@functools.cache  # kept
def cached(x):
    """Return what was asked
    for.  Not more. """

    # a comment
    y = x + 1
    return y


class Outer:
    """Not a function."""

    class Inner:
        def method(self):
            """Do the inner thing"""
            def nested(a):
                """Explain the nested thing."""
                return a
            text = """
  less indented"""
            return nested(text)

    if True:
        async def method(self):
            \'\'\'Wait for the thing.\'\'\'  # why
            await self
            return 1

    def __len__(self):
        """Return the number of things."""
        x = 1
        return x

    def test_it(self):
        """Test all of the things."""
        x = 1
        return x

    def _private(self):
        x = 1
        return x

def inline(): "Share the line of the def."; x = 1; return x
'''


def parsed(tmp_path: Path, source: str | bytes) -> list[Entry]:
    path = tmp_path / "module.py"
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    return list(functions(path, "pkg.module"))


def test_functions(tmp_path: Path) -> None:
    cached, method, waiting = parsed(tmp_path, SOURCE)
    assert cached.name == "pkg.module.cached" and cached.sentence == "Return what was asked for."
    assert cached.source == textwrap.dedent("""\
        @functools.cache  # kept
        def cached(x):
            # a comment
            y = x + 1
            return y""")
    assert method.name == "pkg.module.Outer.Inner.method" and method.sentence == "Do the inner thing"
    assert method.source == textwrap.dedent('''\
        def method(self):
            def nested(a):
                return a
            text = """
          less indented"""
            return nested(text)''').replace("\n  less", "\n  less")
    assert waiting.name == "pkg.module.Outer.method" and waiting.sentence == "Wait for the thing."
    assert waiting.source == "async def method(self):\n    await self\n    return 1"


@pytest.mark.parametrize(
    "source",
    [
        b'def f(:\n    """Not a function at all."""\n',
        b'# -*- coding: nonsense -*-\n"""x"""\n',
        b'"""\xff is no UTF-8."""\n',
        b'"""Has \x00 in it."""\n',
        b"x = 1\n",
        b"",
    ],
)
def test_a_file_that_is_no_python_has_no_functions(tmp_path: Path, source: bytes) -> None:
    assert parsed(tmp_path, source) == []


def test_encodings_and_line_ends(tmp_path: Path) -> None:
    plain = 'def f(x):\n    """Löse das Problem."""\n    y = "é"\n    return y\n'
    (expected,) = parsed(tmp_path, plain)
    assert expected.source == 'def f(x):\n    y = "é"\n    return y'
    assert parsed(tmp_path, "\ufeff" + plain) == [expected]
    assert parsed(tmp_path, plain.replace("\n", "\r\n")) == [expected]
    assert parsed(tmp_path, ("# coding: latin-1\n" + plain).encode("latin-1")) == [expected]
    assert parsed(tmp_path, "\x0c\n" + plain) == [expected]


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Return x. And more.", "Return x."),
        ("\n    Return x,\n    or y!  Really.\n\n    More.", "Return x, or y!"),
        ("Use e.g. a file, or v1.2 of it", "Use e.g. a file, or v1.2 of it"),
        ("Read it\n\nand write it.", "Read it"),
        ("f(x) -> y. Return y.", ""),
        ("D.update(E). Update D.", ""),
        (">>> f(1)\n1", ""),
        ("", ""),
    ],
)
def test_first_sentence(docstring: str, sentence: str) -> None:
    assert first_sentence(docstring) == sentence


def test_modules(tmp_path: Path) -> None:
    for name in (
        "a.py", "b/__init__.py", "b/c.py", "b/test/d.py", "b/tests/d.py", "b/not-a-package/e.py", "b/data.txt",
        "site-packages/numpy.py", "test/test_a.py", "sitecustomize.py", "tkinter/__init__.py",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = modules(tmp_path, frozenset({"a", "b", "tkinter"}) - LEFT_OUT)
    assert list(found) == [
        ("a", tmp_path / "a.py"),
        ("b", tmp_path / "b/__init__.py"),
        ("b.c", tmp_path / "b/c.py"),
    ]


def function(name: str, docstring: str, body: str = "") -> str:
    return f'def {name}():\n    """{docstring}"""\n    x = {name!r}{body}\n    return x\n'


def test_filters(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        function("kept", "Return the first thing.")
        + function("brief", "Return it.")
        + 'def short():\n\n    """Return the short thing."""\n    return 1\n'
        + function("same", "Do it again, Sam!")
        + function("same", "Something else entirely.")
        + function("same", "Another way of it.", " + 'y'")
        + function("twice", "Do what others do.")
        + function("again", "do what others do")
        + function("leaky", "Say it twice over.", "  # say it twice OVER")
    )
    entries = StandardLibrary().entries(tmp_path, frozenset({"a"}))
    assert [(entry.name, entry.sentence) for entry in entries] == [
        ("a.kept", "Return the first thing."),
        ("a.same", "Do it again, Sam!"),
        ("a.same#2", "Another way of it."),
        ("a.twice", ""),
        ("a.again", ""),
        ("a.leaky", ""),
    ]
    strict = StandardLibrary(min_words=4, min_lines=4)
    assert strict.entries(tmp_path, frozenset({"a"})) == []


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return StandardLibrary().load()


def test_this_pythons_library(dataset: Dataset) -> None:
    assert dataset.doc_texts is not None and dataset.query_texts is not None and dataset.qrels is not None
    assert len(dataset.doc_ids) > 2500
    assert 1500 < len(dataset.query_ids) < len(dataset.doc_ids)
    assert 0.4 < len(dataset.train_query_texts) / len(dataset.query_ids) < 0.6
    assert dataset.name == "stdlib" and dataset.revision.endswith(platform.python_version())
    assert dataset.titles == dataset.doc_ids
    assert all(dataset.qrels[query_id] == {query_id: 1} for query_id in dataset.query_ids)
    assert not any(is_train(query_id) for query_id in dataset.query_ids)
    assert "json.decoder.JSONDecoder.decode" in dataset.doc_ids
    assert len(set(dataset.doc_texts)) == len(dataset.doc_texts)
    asked = [*dataset.query_texts, *dataset.train_query_texts]
    assert len({text.casefold() for text in asked}) == len(asked)


def test_no_document_gives_its_query_away(dataset: Dataset) -> None:
    assert dataset.doc_texts is not None and dataset.query_texts is not None
    source = dict(zip(dataset.doc_ids, dataset.doc_texts, strict=True))

    def words(text: str) -> str:
        return f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "

    for query_id, text in zip(dataset.query_ids, dataset.query_texts, strict=True):
        assert words(text) not in words(source[query_id]), query_id


def test_the_same_python_gives_the_same_collection(dataset: Dataset) -> None:
    program = "from harness.data.datasets.stdlib import *; print(StandardLibrary().load().fingerprint)"
    other = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT), "LC_ALL": "C"}
    printed = subprocess.run([sys.executable, "-c", program], env=other, check=True, capture_output=True, text=True)
    assert printed.stdout.strip() == dataset.fingerprint


def test_yaml() -> None:
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=["dataset=stdlib"])
    assert build(cfg.dataset, "dataset") == StandardLibrary()
