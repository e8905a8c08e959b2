"""A server on this machine that speaks as each vendor's endpoint does, and can fail in every way that endpoints do."""

import base64
import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from harness.data.models import CohereModel, GeminiModel, OpenAIModel, VoyageModel
from harness.data.models.api import ApiModel

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


@dataclass(frozen=True)
class Kind:
    """A vendor's way of asking and answering.

    Attributes
    ----------
    mark : str
        What only its requests have, by which they are told apart.
    path : str
        Where they go, under the base URL.
    key : tuple of str
        The header of the key, and what stands before it.
    no_vectors : str
        What is said of an answer without any.
    """

    model: type[ApiModel]
    mark: str
    path: str
    key: tuple[str, str]
    no_vectors: str


BEARER = ("Authorization", "Bearer ")
KINDS = {
    "openai": Kind(OpenAIModel, "", "/embeddings", BEARER, "without a list 'data'"),
    "cohere": Kind(CohereModel, "texts", "/embed", BEARER, "without a list embeddings.float"),
    "voyage": Kind(VoyageModel, "truncation", "/embeddings", BEARER, "without a list 'data'"),
    "gemini": Kind(
        GeminiModel,
        "requests",
        "/models/stub:batchEmbedContents",
        ("x-goog-api-key", ""),
        "without a list 'embeddings'",
    ),
}


def kind_of(request: Mapping[str, Any]) -> str:
    return next((name for name, kind in KINDS.items() if kind.mark in request), "openai")


def texts_of(request: Mapping[str, Any]) -> list[str]:
    if "requests" in request:
        return [part["content"]["parts"][0]["text"] for part in request["requests"]]
    return request["texts"] if "texts" in request else request["input"]


def width_of(request: Mapping[str, Any]) -> int:
    asked = request["requests"][0] if "requests" in request else request
    names = ("dimensions", "output_dimension", "outputDimensionality")
    return next((asked[name] for name in names if name in asked), DIM)


def given(vector: np.ndarray, output: str) -> list[float]:
    """A vector as integers, or as bits eight to a byte, the first the highest."""
    if output == "ubinary":
        return np.packbits(vector > 0).tolist()
    if output in ("int8", "uint8"):
        return (np.clip(np.rint(40 * vector), -128, 127).astype(int) + (128 if output == "uint8" else 0)).tolist()
    return vector.tolist()


def embeddings(request: Mapping[str, Any], vectors: Sequence[np.ndarray]) -> dict[str, Any]:
    """What an endpoint answers in the form of the request."""
    kind = kind_of(request)
    if kind == "gemini":
        return {"embeddings": [{"values": made.tolist()} for made in vectors]}
    tokens = sum(len(text.split()) for text in texts_of(request))
    if kind == "cohere":
        by_type = {output: [given(made, output) for made in vectors] for output in request["embedding_types"]}
        return {"id": "1", "embeddings": by_type, "meta": {"billed_units": {"input_tokens": float(tokens)}}}
    output = request.get("output_dtype", "float")
    packed = request.get("encoding_format") == "base64"
    data = [
        {"index": place, "embedding": base64.b64encode(made.tobytes()).decode() if packed else given(made, output)}
        for place, made in enumerate(vectors)
    ]
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

    kind: str = "openai"
    fails: Failure | None = None
    delay: float = 0.0
    answered: Counter[str] = field(default_factory=Counter)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    most: int = 0
    under_way: int = 0
    lock: Any = field(default_factory=threading.Lock)
    url: str = ""

    @property
    def key(self) -> str:
        """What the header of the key is to hold."""
        return KINDS[self.kind].key[1] + KEY

    def model(self, **options: Any) -> Any:
        asked = {"name": "stub", "base_url": self.url, "api_key_env": VARIABLE, "batch_size": 5} | options
        return KINDS[self.kind].model(**asked)

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        request = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            self.requests.append(request)
            self.keys.add(handler.headers[KINDS[self.kind].key[0]])
        time.sleep(self.delay)
        with self.lock:
            # before the answer: a client that has it sends its next request at once
            self.under_way -= 1
        if self.fails is not None and self.fails(handler, request):
            return
        if handler.path != "/v1" + KINDS[kind_of(request)].path or kind_of(request) != self.kind:
            answer(handler, 404, {"error": {"message": f"no route {handler.path}"}})
            return
        vectors = [vector(text, width_of(request)) for text in texts_of(request)]
        with self.lock:
            self.answered.update(texts_of(request))
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


def at_random(seed: int, share: float) -> Failure:
    """Fail a share of requests: 429 with and without a wait, 500, an answer cut off, none at all."""
    rng, lock = random.Random(seed), threading.Lock()

    def fails(handler: BaseHTTPRequestHandler, request: Mapping[str, Any]) -> bool:
        with lock:
            kind = rng.choice(["429", "wait", "500", "cut", "cut JSON", "none"]) if rng.random() < share else ""
        whole = embeddings(request, [vector(text) for text in texts_of(request)])
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


def said(status: int, content: object, **headers: str) -> Failure:
    def fails(handler: BaseHTTPRequestHandler, request: Mapping[str, Any]) -> bool:
        answer(handler, status, content, **headers)
        return True

    return fails


def made(change: Callable[[Mapping[str, Any], list[np.ndarray]], object]) -> Failure:
    """Answer with something other than the vectors."""

    def fails(handler: BaseHTTPRequestHandler, request: Mapping[str, Any]) -> bool:
        answer(handler, 200, change(request, [vector(text) for text in texts_of(request)]))
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
