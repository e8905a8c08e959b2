"""Models behind an API, against a server on this machine that can fail in every way that endpoints do."""

import base64
import hashlib
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.base.errors import ConfigError, ModelError
from harness.cli import main
from harness.data.datasets import Dataset
from harness.data.embedding_cache import embed
from harness.data.models import OpenAIModel, endpoint
from harness.data.models.endpoint import checked_url
from harness.data.models.float16 import Rounded
from harness.runs.portable_command import portable
from tests.conftest import ROOT

DIM = 16
KEY = "sk-test-0123456789-abcdefghij-SECRET"
VARIABLE = "STUB_API_KEY"

Failure = Callable[[BaseHTTPRequestHandler, Mapping[str, Any]], bool]
"""Answers a request in its own way, or returns false."""


def vector(text: str, width: int = DIM) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(width).astype(np.float32)


def answer(handler: BaseHTTPRequestHandler, status: int, content: object, cut: bool = False, **headers: str) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    for name, value in {"Content_Type": "application/json", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2] if cut else body)


def embeddings(request: Mapping[str, Any], vectors: list[np.ndarray]) -> dict[str, Any]:
    packed = request.get("encoding_format") == "base64"
    data = [
        {"index": place, "embedding": base64.b64encode(made.tobytes()).decode() if packed else made.tolist()}
        for place, made in enumerate(vectors)
    ]
    tokens = sum(len(text.split()) for text in request["input"])
    # endpoints are free to answer in any order
    return {"object": "list", "data": data[::-1], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


@dataclass
class Stub:
    """An endpoint whose vectors are functions of texts.

    Attributes
    ----------
    fails : Failure or None
    answered : Counter
        How often each text was in a request that was answered in full.
    requests : list of dict
        All of them.
    most : int
        Requests under way at once.
    """

    fails: Failure | None = None
    delay: float = 0.0
    answered: Counter[str] = field(default_factory=Counter)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    most: int = 0
    under_way: int = 0
    lock: Any = field(default_factory=threading.Lock)
    url: str = ""

    def model(self, **options: Any) -> OpenAIModel:
        given = {"name": "stub", "base_url": self.url, "api_key_env": VARIABLE, "batch_size": 5} | options
        return OpenAIModel(**given)

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        request = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            self.requests.append(request)
            self.keys.add(handler.headers["Authorization"])
        time.sleep(self.delay)
        with self.lock:
            # before the answer: a client that has it sends its next request at once
            self.under_way -= 1
        if self.fails is not None and self.fails(handler, request):
            return
        if handler.path != "/v1/embeddings":
            answer(handler, 404, {"error": {"message": f"no route {handler.path}"}})
            return
        vectors = [vector(text, request.get("dimensions", DIM)) for text in request["input"]]
        with self.lock:
            self.answered.update(request["input"])
        answer(handler, 200, embeddings(request, vectors))


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with suppress(ConnectionError):
                stub.take(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving(Stub()) as started:
        yield started


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.002)
    monkeypatch.setenv(VARIABLE, KEY)


def at_random(seed: int, share: float) -> Failure:
    """Fail a share of requests: 429 with and without a wait, 500, an answer cut off, none at all."""
    rng, lock = random.Random(seed), threading.Lock()

    def fails(handler: BaseHTTPRequestHandler, request: Mapping[str, Any]) -> bool:
        with lock:
            kind = rng.choice(["429", "wait", "500", "cut", "cut JSON", "none"]) if rng.random() < share else ""
        whole = embeddings(request, [vector(text) for text in request["input"]])
        if kind in ("429", "500"):
            answer(handler, int(kind), {"error": {"message": "try again"}})
        elif kind == "wait":
            answer(handler, 429, b"slow down", Retry_After="0.01")
        elif kind == "cut":
            answer(handler, 200, whole, cut=True)
        elif kind == "cut JSON":
            answer(handler, 200, json.dumps(whole).encode()[:-9])
        elif kind == "none":
            handler.close_connection = True
        return bool(kind)

    return fails


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


def units(texts: list[str] | None, width: int = DIM) -> np.ndarray:
    made = np.stack([vector(text, width) for text in texts or []])
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_an_endpoint_that_fails_at_random_gives_the_same_vectors_and_answers_each_text_once(
    stub: Stub, tmp_path: Path, seed: int, share: float
) -> None:
    dataset = make_dataset()
    sound = embed(dataset, stub.model(), tmp_path / "sound")
    np.testing.assert_allclose(sound.docs, units(dataset.doc_texts), atol=1e-6)
    np.testing.assert_allclose(sound.queries, units(dataset.query_texts), atol=1e-6)
    with serving(Stub(fails=at_random(seed, share))) as failing:
        shaken = embed(dataset, failing.model(retries=40), tmp_path / "shaken")
        sent = sum(len(request["input"]) for request in failing.requests)
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
    assert [len(request["input"]) for request in stub.requests] == [1, 8, 7, 1, 1]


def test_both_ways_of_packing_give_the_same_vectors(stub: Stub) -> None:
    texts = [f"text {i}" for i in range(23)]
    packed, plain = (stub.model(encoding_format=way).encode(texts, "query", None) for way in ("base64", "float"))
    np.testing.assert_array_equal(packed, plain)
    assert {request["encoding_format"] for request in stub.requests} == {"base64", "float"}

    def stubborn(handler: BaseHTTPRequestHandler, request: Mapping[str, Any]) -> bool:
        other = "float" if request["encoding_format"] == "base64" else "base64"
        answer(handler, 200, embeddings({**request, "encoding_format": other}, [vector(t) for t in request["input"]]))
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


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ModelError])
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


def environment() -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def said(status: int, content: object, **headers: str) -> Failure:
    def fails(handler: BaseHTTPRequestHandler, request: Mapping[str, Any]) -> bool:
        answer(handler, status, content, **headers)
        return True

    return fails


def made(change: Callable[[Mapping[str, Any], list[np.ndarray]], object]) -> Failure:
    """Answer with something other than the vectors."""

    def fails(handler: BaseHTTPRequestHandler, request: Mapping[str, Any]) -> bool:
        answer(handler, 200, change(request, [vector(text) for text in request["input"]]))
        return True

    return fails


def spoiled(request: Mapping[str, Any], vectors: list[np.ndarray]) -> object:
    vectors[-1][3] = np.nan
    return embeddings(request, vectors)


def other_width(request: Mapping[str, Any], vectors: list[np.ndarray]) -> object:
    return embeddings(request, [vectors[0][:9], *vectors[1:]])


def other_widths(request: Mapping[str, Any], vectors: list[np.ndarray]) -> object:
    odd = vectors[0][0] > 0
    return embeddings(request, [made[:9] for made in vectors] if odd else vectors)


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

    def call(url: str, *overrides: str) -> tuple[int, str, str]:
        given = ["dataset=folder", f"dataset.path={small_collection}", "model=openai", "model.name=stub", "k=20"]
        places = [f"cache_dir={tmp_path / 'cache'}", f"results_dir={tmp_path / 'results'}"]
        options = [f"model.base_url={url}", f"model.api_key_env={VARIABLE}", "model.retries=2", *overrides]
        status = main(["run", *given, *places, *options])
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


@pytest.mark.parametrize("way", WAYS)
def test_each_failure_is_one_line_that_says_what_to_do_and_has_no_key(
    stub: Stub, run: Callable[..., tuple[int, str, str]], tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    caplog.set_level(logging.DEBUG, logger="harness")
    stub.fails, overrides, expected = WAYS[way]
    status, out, err = run(stub.url, *overrides)
    lines = [line for line in err.splitlines() if line.startswith("vecbudget: ")]
    assert status == 1 and len(lines) == 1 and "Traceback" not in err, err
    assert re.search(expected, lines[0]), lines[0]
    assert lines[0].startswith(f"vecbudget: {stub.url}/embeddings") and len(lines[0]) < 700
    assert stub.keys == ({None} if "api_key_env" in str(overrides) else {f"Bearer {KEY}"})
    assert_no_key(tmp_path, out, err, caplog.text)


def test_an_endpoint_that_is_down_is_one_line_at_once(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 60.0)
    with serving(Stub()) as gone:
        pass
    started = time.monotonic()
    status, _, err = run(gone.url)
    assert status == 1 and f"{gone.url}/embeddings: nobody answers (connection refused); start the server" in err
    assert time.monotonic() - started < 20


def test_a_wait_that_is_asked_for_is_kept(stub: Stub) -> None:
    asked: list[float] = []

    def fails(handler: BaseHTTPRequestHandler, request: Mapping[str, Any]) -> bool:
        asked.append(time.monotonic())
        if len(asked) == 1:
            answer(handler, 429, b"", Retry_After="0.4")
        return len(asked) == 1

    stub.fails = fails
    stub.model().encode(["a"], "query", None)
    assert asked[1] - asked[0] >= 0.4


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


@pytest.mark.parametrize("share", [0, 0.2])
def test_the_key_is_sent_and_is_nowhere_else(
    stub: Stub, run: Callable[..., tuple[int, str, str]], tmp_path: Path, caplog: pytest.LogCaptureFixture, share: float
) -> None:
    caplog.set_level(logging.DEBUG, logger="harness")
    stub.fails = at_random(1, share)
    status, out, err = run(stub.url, "model.retries=40", "model.batch_size=20")
    assert status == 0 and stub.keys == {f"Bearer {KEY}"}
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
