"""Models behind an API, against a server on this machine that can fail in every way that endpoints do."""

import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.base.errors import ConfigError, ModelError
from harness.cli import main
from harness.data.datasets import Dataset
from harness.data.embedding_cache import embed
from harness.data.models import OpenAIModel, endpoint
from harness.data.models.api import UnusableError
from harness.data.models.endpoint import checked_url
from harness.data.models.float16 import Rounded
from harness.data.models.quantized_api import Output, numbers
from harness.runs.portable_command import portable
from tests.conftest import ROOT
from tests.harness.data.models.stub_endpoint import (
    KEY,
    KINDS,
    VARIABLE,
    Failure,
    Stub,
    answer,
    at_random,
    embeddings,
    given,
    made,
    other_width,
    other_widths,
    said,
    serving,
    spoiled,
    texts_of,
    vector,
)


@pytest.fixture
def stub(request: pytest.FixtureRequest) -> Iterator[Stub]:
    with serving(Stub(kind=getattr(request, "param", "openai"))) as started:
        yield started


NEW = [name for name in KINDS if name != "openai"]
new_kinds = pytest.mark.parametrize("stub", NEW, indirect=True)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.002)
    monkeypatch.setenv(VARIABLE, KEY)


def make_dataset(n: int = 240) -> Dataset:
    rng = random.Random(0)
    return Dataset.build(
        name="toy",
        doc_ids=[f"d{i:04}" for i in range(n)],
        doc_texts=[f"{i} " + "word " * rng.randrange(30) for i in range(n)],
        query_ids=[f"q{i}" for i in range(12)],
        query_texts=[f"question {i}" for i in range(12)],
        qrels=None,
    )


def units(texts: list[str] | None, width: int = 16) -> np.ndarray:
    made = np.stack([vector(text, width) for text in texts or []])
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "stub, seed, share",
    [("openai", 0, 0.1), ("openai", 1, 0.4), *((kind, 0, 0.3) for kind in NEW)],
    indirect=["stub"],
)
def test_an_endpoint_that_fails_at_random_gives_the_same_vectors_and_answers_each_text_once(
    stub: Stub, tmp_path: Path, seed: int, share: float
) -> None:
    dataset = make_dataset()
    sound = embed(dataset, stub.model(), tmp_path / "sound")
    np.testing.assert_allclose(sound.docs, units(dataset.doc_texts), atol=1e-6)
    np.testing.assert_allclose(sound.queries, units(dataset.query_texts), atol=1e-6)
    with serving(Stub(kind=stub.kind, fails=at_random(seed, share))) as failing:
        shaken = embed(dataset, failing.model(retries=40), tmp_path / "shaken")
        sent = sum(len(texts_of(request)) for request in failing.requests)
        assert sent > sum(failing.answered.values()), "nothing failed"
        assert set(failing.answered.values()) == {1} and len(failing.answered) == 252
    np.testing.assert_array_equal(shaken.docs, sound.docs)
    np.testing.assert_array_equal(shaken.queries, sound.queries)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_so_many_requests_are_under_way(stub: Stub, concurrency: int) -> None:
    stub.delay = 0.03
    stub.model(concurrency=concurrency).encode([str(i) for i in range(60)], "document", None)
    assert stub.most == concurrency and len(stub.requests) == 12


def test_requests_are_bounded_in_texts_and_in_tokens(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.models.api.BATCH_TOKENS", 100)
    texts = ["x" * 399, "y" * 8, *("z" * 40 for _ in range(14)), "w" * 900, ""]
    made = stub.model(batch_size=8, concurrency=1).encode(texts, "document", None)
    np.testing.assert_allclose(made, units(texts), atol=1e-6)
    assert [len(texts_of(request)) for request in stub.requests] == [1, 8, 7, 1, 1]


def test_both_ways_of_packing_give_the_same_vectors(stub: Stub) -> None:
    texts = [f"text {i}" for i in range(23)]
    packed, plain = (stub.model(encoding_format=way).encode(texts, "query", None) for way in ("base64", "float"))
    np.testing.assert_array_equal(packed, plain)
    assert {request["encoding_format"] for request in stub.requests} == {"base64", "float"}

    def stubborn(handler: BaseHTTPRequestHandler, request: Mapping[str, Any]) -> bool:
        other = "float" if request["encoding_format"] == "base64" else "base64"
        answer(handler, 200, embeddings({**request, "encoding_format": other}, [vector(t) for t in texts_of(request)]))
        return True

    stub.fails = stubborn
    np.testing.assert_array_equal(stub.model().encode(texts, "query", None), packed)
    assert stub.model().identity("query", None) == stub.model(encoding_format="float").identity("query", None)


def test_what_is_asked_for_is_sent(stub: Stub) -> None:
    options = {"dimensions": 7, "query_prompt": "query: ", "document_input_type": "passage", "max_characters": 3}
    model = stub.model(**options)
    made = model.encode(["abcdef"], "query", None)
    np.testing.assert_allclose(made, units(["query: abc"], 7), atol=1e-6)
    model.encode(["xyz"], "document", None)
    first = {"model": "stub", "input": ["query: abc"], "encoding_format": "base64", "dimensions": 7}
    assert stub.requests == [first, {**first, "input": ["xyz"], "input_type": "passage"}]
    assert (
        model.label == ("stub dimensions=7 query_prompt=query:  max_characters=3 document_input_type=passage")
        and model.width == 7
    )
    raw = stub.model(normalize=False).encode(["abc"], "query", None)
    np.testing.assert_array_equal(raw, vector("abc")[None])


def test_the_identity_is_what_changes_vectors(stub: Stub) -> None:
    base = stub.model()
    for same in (
        {"batch_size": 9},
        {"concurrency": 1},
        {"timeout": 5},
        {"retries": 0},
        {"api_key_env": None},
        {"price_per_million_tokens": 2},
        {"base_url": f"{stub.url.upper().replace('/V1', '/v1')}/"},
    ):
        assert stub.model(**same).identity("query", None) == base.identity("query", None), same
        assert stub.model(**same).label == base.label
    for other in (
        {"name": "another"},
        {"base_url": "https://api.example.com/v1"},
        {"dimensions": 8},
        {"query_prompt": "query: "},
        {"query_input_type": "query"},
        {"normalize": False},
        {"max_characters": 100},
    ):
        assert stub.model(**other).identity("query", None) != base.identity("query", None), other
    for documents in ({"document_prompt": "passage: "}, {"document_input_type": "passage"}):
        assert stub.model(**documents).identity("query", None) == base.identity("query", None)
        assert stub.model(**documents).identity("document", None) != base.identity("document", None)
    assert not stub.requests


@pytest.mark.parametrize(
    "stub, error, rounded",
    [
        *(("openai", error, rounded) for error in (KeyboardInterrupt, ModelError) for rounded in (False, True)),
        *((kind, KeyboardInterrupt, False) for kind in NEW),
    ],
    indirect=["stub"],
)
def test_an_interrupted_encoding_sends_only_the_rest(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], rounded: bool
) -> None:
    dataset = make_dataset()
    stub.delay = 0.01
    model = stub.model(concurrency=3)
    encoder = Rounded(model) if rounded else model
    post, calls = endpoint.Endpoint.post, Counter[str]()

    def interrupted(self: endpoint.Endpoint, content: Mapping[str, Any]) -> Any:
        calls["made"] += 1
        if calls["made"] == 20:
            raise error("stopped")
        return post(self, content)

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(endpoint.Endpoint, "post", interrupted)
        embed(dataset, encoder, tmp_path)
    before = sum(stub.answered.values())
    assert 80 < before < 130, "three times five texts are under way when it ends"
    vectors = embed(dataset, encoder, tmp_path)
    assert set(stub.answered.values()) == {1} and len(stub.answered) == 252
    np.testing.assert_allclose(
        vectors.docs.astype(np.float32), units(dataset.doc_texts), atol=1e-3 if rounded else 1e-6
    )
    count = len(stub.requests)
    embed(dataset, encoder, tmp_path)
    assert len(stub.requests) == count, "all is there"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_stopped_or_killed_leaves_what_it_was_answered(
    stub: Stub, tmp_path: Path, how: signal.Signals
) -> None:
    """Answers out of turn are kept too: one request in seven takes its time."""

    def slow(handler: BaseHTTPRequestHandler, request: Mapping[str, Any]) -> bool:
        time.sleep(0.3 if len(stub.requests) % 7 == 3 else 0.02)
        return False

    stub.fails = slow
    process = subprocess.Popen([sys.executable, __file__, stub.url, str(tmp_path)], env=environment())
    limit = time.monotonic() + 60
    while len(stub.answered) < 90:
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.005)
    process.send_signal(how)
    process.wait(30)
    assert len(stub.answered) < 240, "it had ended"
    embed(make_dataset(), stub.model(concurrency=4), tmp_path)
    again = sum(count - 1 for count in stub.answered.values())
    # who is killed takes the answers along that are on their way
    assert again == 0 if how == signal.SIGINT else again <= 4 * 5
    assert len(stub.answered) == 252


@pytest.mark.parametrize(
    "stub, options, query, document",
    [
        (
            "cohere",
            {"output": "int8", "query_output": "float", "dimensions": 8, "truncate": False},
            {
                "model": "stub",
                "texts": ["a b"],
                "input_type": "search_query",
                "embedding_types": ["float"],
                "truncate": "NONE",
                "output_dimension": 8,
            },
            {"input_type": "search_document", "embedding_types": ["int8"]},
        ),
        (
            "voyage",
            {"output": "binary", "query_output": "float", "dimensions": 8},
            {
                "model": "stub",
                "input": ["a b"],
                "input_type": "query",
                "truncation": True,
                "encoding_format": "base64",
                "output_dimension": 8,
            },
            {"input_type": "document", "encoding_format": None, "output_dtype": "ubinary"},
        ),
        (
            "gemini",
            {"dimensions": 8, "document_task_type": None},
            {
                "requests": [
                    {
                        "model": "models/stub",
                        "taskType": "RETRIEVAL_QUERY",
                        "outputDimensionality": 8,
                        "content": {"parts": [{"text": "a b"}]},
                    }
                ]
            },
            {
                "requests": [
                    {
                        "model": "models/stub",
                        "outputDimensionality": 8,
                        "content": {"parts": [{"text": "a b"}]},
                    }
                ]
            },
        ),
    ],
    indirect=["stub"],
)
def test_each_vendor_is_asked_in_its_own_words(
    stub: Stub, options: dict[str, Any], query: dict[str, Any], document: dict[str, Any]
) -> None:
    """`document` is what differs from `query`, None for what is not sent."""
    model = stub.model(**options)
    np.testing.assert_allclose(model.encode(["a b"], "query", None), units(["a b"], 8), atol=1e-6)
    model.encode(["a b"], "document", None)
    expected = {key: value for key, value in {**query, **document}.items() if value is not None}
    assert stub.requests == [query, expected]


@pytest.mark.parametrize("stub", ["cohere", "voyage"], indirect=True)
@pytest.mark.parametrize("output", ["int8", "uint8", "binary"])
def test_integers_are_handed_on_and_bits_are_signs(stub: Stub, output: str) -> None:
    texts = ["a", "b c", "d"]
    made = stub.model(output=output).encode(texts, "document", None)
    whole = np.stack([vector(text) for text in texts])
    expected = np.sign(whole) if output == "binary" else np.array([given(row, output) for row in whole])
    np.testing.assert_array_equal(made, expected)
    assert made.dtype == np.float32


def test_bits_are_those_of_voyages_documentation() -> None:
    """Eight numbers of which it says: 77 as an unsigned byte."""
    values = [-0.03955078, 0.006214142, -0.07446289, -0.039001465, 0.0046463013, 0.00030612946, -0.08496094, 0.03994751]
    np.testing.assert_array_equal(numbers([77], "binary"), np.sign(values))


@pytest.mark.parametrize(
    "output, embedding",
    [("int8", [3, 128]), ("int8", [0.5, 1]), ("uint8", [-1, 3]), ("binary", [-51]), ("int8", ["x"])],
)
def test_numbers_of_another_kind_than_asked_for_are_refused(output: Output, embedding: list[Any]) -> None:
    with pytest.raises(UnusableError, match="numbers"):
        numbers(embedding, output)


@pytest.mark.parametrize("stub", ["cohere", "voyage"], indirect=True)
def test_the_identity_of_an_output_is_that_of_its_vectors(stub: Stub) -> None:
    """The queries of int8 documents that are asked for as floats are those of float documents, and sent once."""
    base, mixed = stub.model(), stub.model(output="int8", query_output="float")
    assert mixed.identity("query", None) == base.identity("query", None)
    assert mixed.identity("document", None) != base.identity("document", None)
    assert mixed.label == "stub output=int8 query_output=float" and base.label == "stub"
    # nothing scales integers
    assert stub.model(output="int8").identity("query", None)["normalize"] is False
    for other in ({"truncate": False}, {"output": "binary"}, {"dimensions": 8}, {"name": "another"}):
        assert stub.model(**other).identity("document", None) != base.identity("document", None), other
    assert not stub.requests


@new_kinds
def test_a_text_as_a_query_is_another_than_as_a_document(stub: Stub) -> None:
    assert stub.model().identity("query", None) != stub.model().identity("document", None)


@new_kinds
def test_a_batch_is_as_large_as_the_vendor_takes(stub: Stub) -> None:
    most = type(stub.model()).most_texts
    assert stub.model(batch_size=most).batch_size == most == {"cohere": 96, "voyage": 1000, "gemini": 100}[stub.kind]
    with pytest.raises(ConfigError, match=f"batch_size can be {most} here at most"):
        stub.model(batch_size=most + 1)


@new_kinds
def test_a_vendor_that_tells_no_tokens_costs_what_it_does_not_tell(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stub.model(price_per_million_tokens=2).encode(["one two", "three"], "document", None)
    told = "used tokens that it does not tell" if stub.kind == "gemini" else "used 3 tokens, 6e-06 at 2 a million"
    assert f"stub: {told}; 1 answers" in caplog.text


@pytest.mark.parametrize("url, warned", [("http://embed.example/v1", True), ("https://embed.example/v1", False)])
def test_a_key_over_plain_http_is_warned_of_once(caplog: pytest.LogCaptureFixture, url: str, warned: bool) -> None:
    endpoint._warn_of_plain_http.cache_clear()
    for local in ("http://localhost:9/v1", "http://127.0.0.1:9/v1", "http://[::1]:9/v1"):
        endpoint.Endpoint(local, VARIABLE, 1, 0)
    endpoint.Endpoint(url, "NO_SUCH", 1, 0)
    assert not caplog.records
    for _ in range(2):
        endpoint.Endpoint(url, VARIABLE, 1, 0)
    assert [record.getMessage() for record in caplog.records] == (
        [f"{url}: the key in {VARIABLE} goes to another machine over plain http; use https, or no key"]
        if warned
        else []
    )


def test_a_sweep_over_outputs_measures_the_bytes_that_the_vendor_sells(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    with serving(Stub(kind="cohere")) as stub:
        options = ["model.output=float,int8,binary", "model.query_output=float", "method=as_given"]
        status, *_ = run(stub.url, *options, kind="cohere", command="sweep")
        queries = sum(len(texts_of(request)) for request in stub.requests if request["input_type"] == "search_query")
    assert status == 0 and queries == 30, "queries that are floats each time are sent once"
    records = [json.loads(path.read_text()) for path in (tmp_path / "results").rglob("run.json")]
    sizes = {record["model"]["name"]: record["storage"]["code_bytes_per_vector"] for record in records}
    named = ["stub output=int8 query_output=float", "stub output=binary query_output=float"]
    assert sizes == {"stub": 64, named[0]: 16, named[1]: 2}


def environment() -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


ECHO = {"error": {"message": f"Incorrect API key provided: {KEY}. See \n the account page.", "code": "invalid_api_key"}}

WAYS: dict[str, tuple[Failure, list[str], str]] = {
    "wrong key": (said(401, ECHO), [], r"refuses the key in STUB_API_KEY \(HTTP 401: .*\[the key\].*\); set the right"),
    "forbidden": (said(403, b""), [], r"refuses the key in STUB_API_KEY \(HTTP 403\)"),
    "no key": (
        said(401, {"detail": "no"}),
        ["model.api_key_env=NO_SUCH"],
        r"wants a key .*: no\), and NO_SUCH is not",
    ),
    "key unnamed": (said(401, b"no"), ["model.api_key_env=null"], "wants a key .*model.api_key_env names none"),
    "too long": (
        said(400, {"error": {"message": "maximum context length is 8192 tokens"}}),
        [],
        r"HTTP 400: maximum context length is 8192 tokens\): the longest of its 64 texts has 20 characters "
        r"\('title d\d+ text d\d+'\); .*model.max_characters=N cuts",
    ),
    "no model": (
        said(404, {"error": "model 'stub' not found"}),
        [],
        "model 'stub' not found; correct .*model.name",
    ),
    "no credit": (
        said(429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}),
        [],
        "the account has no credit left .*You exceeded",
    ),
    "elsewhere": (
        said(307, b"", Location="https://elsewhere.example/v1"),
        [],
        "sends on to https://elsewhere.example/v1 .*it is model.base_url",
    ),
    "no JSON": (
        said(200, b"<html>welcome</html>", Content_Type="text/html"),
        [],
        "other than JSON .*welcome.*url",
    ),
    "cut for good": (said(200, b'{"data": [', Content_Type="text/html"), [], "cut off, or is not JSON.*after 3 tries"),
    "busy for good": (
        said(503, {"error": {"message": "overloaded"}}),
        [],
        "HTTP 503: overloaded, after 3 tries",
    ),
    "no vectors": (
        said(200, {"message": KEY}),
        [],
        r"without a list 'data' .* {\"message\": \"\[the key\]\"}",
    ),
    "too few": (made(lambda request, vectors: embeddings(request, vectors[1:])), [], "gives 63 vectors for 64 texts"),
    "NaN": (made(spoiled), [], "gives NaN or infinity for 'title "),
    "infinity in decimal": (
        made(lambda request, vectors: {"data": [{"embedding": [1.0, float("inf")]} for _ in vectors]}),
        [],
        "gives NaN or infinity for 'title ",
    ),
    "words": (
        made(lambda request, vectors: {"data": [{"embedding": "no!"} for _ in vectors]}),
        [],
        "no list of",
    ),
    "wrong dimension": (
        made(lambda request, vectors: embeddings(request, vectors)),
        ["model.dimensions=8"],
        "gives 16 dimensions where model.dimensions=8 were asked for: it cannot shorten",
    ),
    "dimensions that change": (
        made(other_widths),
        ["model.batch_size=30"],
        "of 9 and of 16 dimensions by one",
    ),
    "dimensions that differ in one": (
        made(other_width),
        [],
        "of 9 and of 16 dimensions in",
    ),
}


@pytest.fixture
def run(
    small_collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.chdir(tmp_path)

    def call(url: str, *overrides: str, kind: str = "openai", command: str = "run") -> tuple[int, str, str]:
        given = ["dataset=folder", f"dataset.path={small_collection}", f"model={kind}", "model.name=stub", "k=20"]
        places = [f"cache_dir={tmp_path / 'cache'}", f"results_dir={tmp_path / 'results'}"]
        options = [f"model.base_url={url}", f"model.api_key_env={VARIABLE}", "model.retries=2", *overrides]
        status = main([command, *given, *places, *options])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return call


def files_with(folder: Path, secret: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def assert_no_key(folder: Path, *shown: str) -> None:
    """Neither the key nor its beginning is in a file of the run, its record among them, or in what was shown."""
    records = [path for path in (folder / "results").rglob("*.json") if '"api_key_env"' in path.read_text()]
    assert records, "there is no record to search"
    for secret in (KEY, KEY[:14]):
        assert not any(secret in text for text in shown)
        assert files_with(folder, secret) == []


NEW_WAYS: dict[str, dict[str, tuple[Failure, list[str], str]]] = {
    kind: {
        "wrong key": (said(status, content), [], r"refuses the key in STUB_API_KEY \(HTTP 40\d: .*\); set the right"),
        "no vectors": (
            said(200, {"id": KEY}),
            [],
            rf"{re.escape(KINDS[kind].no_vectors)}.*: {{\"id\": \"\[the key\]\"}}",
        ),
        **{way: WAYS[way] for way in ("elsewhere", "wrong dimension")},
    }
    for kind, status, content in (
        ("cohere", 401, {"message": f"invalid api token {KEY}"}),
        ("voyage", 401, {"detail": f"Provided API key {KEY} is invalid."}),
        (
            "gemini",
            400,
            {
                "error": {
                    "code": 400,
                    "message": f"API key not valid: {KEY}",
                    "status": "INVALID_ARGUMENT",
                    "details": [{"reason": "API_KEY_INVALID"}],
                }
            },
        ),
    )
}
"""Each vendor says in its own way that a key is wrong, and lacks vectors in its own."""


@pytest.mark.parametrize(
    "stub, failure, overrides, expected",
    [
        pytest.param(kind, *ways[way], id=f"{kind}-{way}")
        for kind, ways in {"openai": WAYS, **NEW_WAYS}.items()
        for way in ways
    ],
    indirect=["stub"],
)
def test_each_failure_is_one_line_that_says_what_to_do_and_has_no_key(
    stub: Stub,
    run: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    failure: Failure,
    overrides: list[str],
    expected: str,
) -> None:
    caplog.set_level(logging.DEBUG, logger="harness")
    stub.fails = failure
    status, out, err = run(stub.url, *overrides, kind=stub.kind)
    lines = [line for line in err.splitlines() if line.startswith("vecbudget: ")]
    assert status == 1 and len(lines) == 1 and "Traceback" not in err, err
    assert re.search(expected, lines[0]), lines[0]
    assert lines[0].startswith(f"vecbudget: {stub.model().url}") and len(lines[0]) < 700
    assert stub.keys == ({None} if "api_key_env" in str(overrides) else {stub.key})
    assert_no_key(tmp_path, out, err, caplog.text)


@pytest.mark.parametrize("kind", KINDS)
def test_an_endpoint_that_is_down_is_one_line_at_once(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 60.0)
    with serving(Stub(kind=kind)) as gone:
        pass
    started = time.monotonic()
    status, _, err = run(gone.url, kind=kind)
    assert status == 1 and f"{gone.model().url}: nobody answers (connection refused); start the server" in err
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "headers, content",
    [
        ({"Retry_After": "0.3"}, b""),
        ({}, {"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.3s"}]}}),
    ],
)
def test_a_wait_that_is_asked_for_is_kept(stub: Stub, headers: dict[str, str], content: object) -> None:
    asked: list[float] = []

    def fails(handler: BaseHTTPRequestHandler, request: Mapping[str, Any]) -> bool:
        asked.append(time.monotonic())
        if len(asked) == 1:
            answer(handler, 429, content, **headers)
        return len(asked) == 1

    stub.fails = fails
    stub.model().encode(["a"], "query", None)
    assert asked[1] - asked[0] >= 0.3


def test_a_retry_after_is_seconds_or_a_date() -> None:
    assert endpoint._asked_wait(None) == endpoint._asked_wait("soon") == endpoint._asked_wait("-5") == 0
    assert endpoint._asked_wait("7") == 7 and endpoint._asked_wait(" 1.5 ") == 1.5
    assert endpoint._asked_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 95 < endpoint._asked_wait(later) <= 100


def test_a_silent_endpoint_is_given_up(stub: Stub) -> None:
    stub.delay = 0.5
    with pytest.raises(ModelError, match=r"no answer in 0.1 s, after 2 tries"):
        stub.model(timeout=0.1, retries=1).encode(["a"], "query", None)


@pytest.mark.parametrize("stub", KINDS, indirect=True)
def test_the_key_is_sent_and_is_nowhere_else(
    stub: Stub, run: Callable[..., tuple[int, str, str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="harness")
    stub.fails = at_random(1, 0.2)
    status, out, err = run(stub.url, "model.retries=40", "model.batch_size=20", kind=stub.kind)
    assert status == 0 and stub.keys == {stub.key}
    assert_no_key(tmp_path, out, err, caplog.text)
    commands = [json.loads(path.read_text())["command"] for path in (tmp_path / "results").rglob("run.json")]
    assert commands and all(VARIABLE in command for command in commands)
    assert not any(KEY in portable(command, "small") for command in commands)


@pytest.mark.parametrize(
    "override, expected",
    [
        (f"model.base_url=https://user:{KEY}@example.com/v1", "no user, password or query"),
        (f"'model.base_url=\"https://example.com/v1?key={KEY}\"'", "no user, password or query"),
        (f"model.base_url={KEY}", "must be a URL such as"),
        (f"model.api_key_env={KEY}", "the name of an environment variable in capitals.*never the key"),
    ],
)
def test_a_key_in_the_wrong_place_is_refused_and_not_repeated(
    stub: Stub, run: Callable[..., tuple[int, str, str]], tmp_path: Path, override: str, expected: str
) -> None:
    status, out, err = run(stub.url, override.strip("'"))
    assert status == 1 and re.search(expected, err) and not stub.requests
    assert KEY not in out + err and files_with(tmp_path, KEY) == []


def test_a_key_of_two_lines_is_named_and_not_shown(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{KEY}\n{KEY}")
    with pytest.raises(ModelError, match="STUB_API_KEY has characters that no key has") as raised:
        stub.model().encode(["a"], "query", None)
    assert KEY not in str(raised.value)
    monkeypatch.setenv(VARIABLE, f"{KEY}\n")
    stub.model().encode(["a"], "query", None)
    assert stub.keys == {f"Bearer {KEY}"}


def test_urls_have_one_spelling() -> None:
    assert checked_url(" HTTPS://API.Example.com/v1/ ") == "https://api.example.com/v1"
    assert checked_url("http://[::1]:8080") == "http://[::1]:8080"
    for wrong in ("", "api.example.com/v1", "ftp://example.com", "http://", "http://x:port/v1", "file:///etc/passwd"):
        with pytest.raises(ConfigError, match="must be a URL"):
            checked_url(wrong)


def test_texts_tokens_and_price_are_told_before_and_after(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    texts = ["eight by" * 5, "four"] * 6  # 10 tokens and 1, of four bytes each
    model = stub.model(price_per_million_tokens=500)
    model.encode(texts, "document", None)
    before, after = (record.getMessage() for record in caplog.records if record.name.startswith("harness"))
    assert before == "stub: 12 documents to encode in 3 requests, about 66 tokens, 0.033 at 500 a million"
    words = sum(len(text.split()) for text in texts)
    price = f"{words * 500 / 1e6:.4g}"
    assert after == f"stub: used {words} tokens, {price} at 500 a million; 3 answers, 0 requests sent again"
    caplog.clear()
    stub.fails = made(lambda request, vectors: {**embeddings(request, vectors), "usage": None})
    stub.model().encode(texts, "query", None)
    assert "12 queries to encode" in caplog.text and "price_per_million_tokens would say" in caplog.text
    assert "used tokens that it does not tell; 3 answers" in caplog.text


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"name": ""}, "model.name is empty"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"dimensions": 0}, "dimensions must be at least 1"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"price_per_million_tokens": -1}, "price_per_million_tokens cannot be -1"),
        ({"encoding_format": "int8"}, "encoding_format must be one of base64, float"),
    ],
)
def test_options_without_meaning_are_refused(stub: Stub, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        stub.model(**options)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        embed(make_dataset(), OpenAIModel(name="stub", base_url=sys.argv[1], batch_size=5), Path(sys.argv[2]))
