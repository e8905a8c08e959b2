"""Models behind an API: texts in batches to an endpoint, several at once, each answer kept as it comes."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError, ModelError
from harness.base.options import Options
from harness.data.models.encoder import Identity, Keep, Role, check_positive, excerpt, unit_length
from harness.data.models.endpoint import BEARER, Endpoint, KeyHeader, RefusedError, check_variable, checked_url

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]

Int64 = NDArray[np.int64]

BYTES_PER_TOKEN = 4
"""Of UTF-8, about, in English; other languages have up to twice the tokens."""

BATCH_TOKENS = 60_000
"""Most estimated tokens of one request: vendors take 100,000 to 300,000."""


@dataclass(kw_only=True, frozen=True)
class ApiModel(Options):
    """What models behind an API have in common; a vendor's own is how it asks and what it is answered.

    Its identity is the endpoint (scheme, host, port, path), the model's name, the dimensions that are asked for, the
    prompt of the role, where texts are cut, and whether vectors are scaled. How answers are packed, batches, threads
    and retries change no vector. What the vendor changes behind the same name cannot be seen from here.

    Attributes
    ----------
    name : str
        What the endpoint calls the model.
    base_url : str
        Without credentials or a query, since records name it.
    api_key_env : str or None
        The environment variable that holds the key; None, or a variable that is not there, sends none.
    dimensions : int or None
        Ask for shortened vectors of so many; None asks for none.
    query_prompt, document_prompt : str
        Text put before each query or document.
    normalize : bool
        Scale vectors to unit length: vendors compare by cosine, and some shorten without scaling.
    max_characters : int or None
        Cut texts to so many, the prompt not counted.
    batch_size : int
        Texts in a request.
    concurrency : int
        Requests under way at once.
    timeout : float
        Seconds without an answer after which a request counts as lost.
    retries : int
        How many times a request is sent again.
    price_per_million_tokens : float or None
        In any currency, for the estimate before and the sum after.
    """

    key_header: ClassVar[KeyHeader] = BEARER
    most_texts: ClassVar[int | None] = None
    """That the vendor takes in a request; None where it says nothing of them."""

    name: str
    base_url: str
    api_key_env: str | None = None
    dimensions: int | None = None
    query_prompt: str = ""
    document_prompt: str = ""
    normalize: bool = True
    max_characters: int | None = None
    batch_size: int = 64
    concurrency: int = 4
    timeout: float = 60.0
    retries: int = 6
    price_per_million_tokens: float | None = None

    def _check(self) -> None:
        if not self.name:
            raise ConfigError("model.name is empty; give what the endpoint calls its model")
        check_variable(self.api_key_env)
        object.__setattr__(self, "base_url", checked_url(self.base_url))
        check_positive(self, "dimensions", "max_characters", "batch_size", "concurrency")
        if self.most_texts is not None and self.batch_size > self.most_texts:
            raise ConfigError(f"model.batch_size can be {self.most_texts} here at most, got {self.batch_size}")
        if not 0 < self.timeout < 1e6:
            raise ConfigError(f"model.timeout must be more than 0 seconds, got {self.timeout}")
        if self.retries < 0:
            raise ConfigError(f"model.retries must be at least 0, got {self.retries}")
        if self.price_per_million_tokens is not None and not 0 <= self.price_per_million_tokens < float("inf"):
            raise ConfigError(f"model.price_per_million_tokens cannot be {self.price_per_million_tokens}")

    @property
    @abstractmethod
    def url(self) -> str:
        """Where requests go."""

    @abstractmethod
    def request(self, texts: Sequence[str], role: Role) -> Mapping[str, Any]:
        """Return what is sent for texts."""

    @abstractmethod
    def vectors(self, answer: Mapping[str, Any], count: int, role: Role) -> Sequence[Float32]:
        """Return the vectors of an answer, in the order of the texts; raises `UnusableError`."""

    @abstractmethod
    def tokens(self, answer: Mapping[str, Any]) -> int | None:
        """Return the tokens that an answer was charged for, None where it does not say."""

    def scales(self, role: Role) -> bool:
        """Return whether vectors are scaled to unit length."""
        return self.normalize

    @property
    def width(self) -> int | None:
        """Dimensions of its vectors, where they were asked for."""
        return self.dimensions

    @property
    def label(self) -> str:
        """The name, and the settings that change its vectors."""
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.settings.items() if value is not None)])

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those that change the vectors, None where they do not."""
        return {
            "dimensions": self.dimensions,
            "query_prompt": self.query_prompt or None,
            "document_prompt": self.document_prompt or None,
            "max_characters": self.max_characters,
            "normalize": None if self.normalize else False,
        }

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors; nothing is sent."""
        return {
            "endpoint": self.base_url,
            "model": self.name,
            "dimensions": self.dimensions,
            "prompt": self._prompt(role),
            "normalize": self.scales(role),
            "max_characters": self.max_characters,
        }

    def encode(self, texts: Sequence[str], role: Role, task: str | None) -> Float32:
        """Return the texts' vectors, float32 (n, d)."""
        made: dict[int, Float32] = {}

        def keep(places: Int64, vectors: Float32) -> None:
            made.update(zip(places.tolist(), vectors, strict=True))

        self.encode_by_batch(texts, role, task, keep)
        return np.stack([made[place] for place in range(len(texts))])

    def encode_by_batch(self, texts: Sequence[str], role: Role, task: str | None, keep: Keep) -> None:
        """Hand over each answer as it comes, with the places of its texts: it has been paid for.

        After an error or Ctrl-C nothing more is sent, and the answers to what is under way are handed over as well.

        Raises
        ------
        ModelError
            As `Endpoint.post`; for an answer that lacks vectors, has others than were asked for, or NaN.
        """
        prepared = [self._prompt(role) + text[: self.max_characters] for text in texts]
        batches = list(self._batches(prepared))
        self._announce(prepared, len(batches), role)
        endpoint = Endpoint(self.url, self.api_key_env, self.timeout, self.retries, self.key_header)
        counted: list[int | None] = []
        widths: set[int] = set()
        under_way: dict[Future[tuple[Float32, int | None]], Int64] = {}

        def collect(future: Future[tuple[Float32, int | None]]) -> None:
            vectors, tokens = future.result()
            widths.add(vectors.shape[1])
            if len(widths) > 1:
                few, many = sorted(widths)
                raise endpoint.refusal(
                    f"gives vectors of {few} and of {many} dimensions by one name; is model.name={self.name} one model?"
                )
            keep(under_way[future], vectors)
            counted.append(tokens)
            del under_way[future]

        left = iter(batches)
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="endpoint")
        try:
            while True:
                for places in islice(left, self.concurrency - len(under_way)):
                    batch = [prepared[place] for place in places]
                    under_way[pool.submit(self._answered, endpoint, batch, role)] = places
                if not under_way:
                    break
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    collect(future)
        except BaseException:
            endpoint.stop()
            for future in list(under_way):
                if future.exception() is None:
                    with suppress(Exception):  # the first error is the one to tell
                        collect(future)
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self._account(counted, endpoint.sent_again, role)

    def _answered(self, endpoint: Endpoint, batch: Sequence[str], role: Role) -> tuple[Float32, int | None]:
        """Return the vectors of a batch and what they were charged for."""
        try:
            answer = endpoint.post(self.request(batch, role))
        except RefusedError as error:
            raise ModelError(f"{error}: {_hint(batch)}") from None
        try:
            vectors = self._matrix(answer, batch, role)
            tokens = self.tokens(answer)
        except UnusableError as error:
            raise endpoint.refusal(str(error)) from None
        return (unit_length(vectors) if self.scales(role) else vectors), tokens

    def _matrix(self, answer: Any, batch: Sequence[str], role: Role) -> Float32:
        if not isinstance(answer, dict):
            raise UnusableError(f"answers with no vectors (correct model.base_url): {json.dumps(answer)}")
        vectors = self.vectors(answer, len(batch), role)
        if len(vectors) != len(batch):
            raise UnusableError(f"gives {len(vectors)} vectors for {len(batch)} texts; try model.batch_size=1")
        widths = {len(vector) for vector in vectors}
        if len(widths) > 1 or widths == {0}:
            shown = " and of ".join(str(width) for width in sorted(widths))
            raise UnusableError(f"gives vectors of {shown} dimensions in one answer; is model.name={self.name} right?")
        matrix = np.stack(vectors)
        if self.dimensions is not None and matrix.shape[1] != self.dimensions:
            raise UnusableError(
                f"gives {matrix.shape[1]} dimensions where model.dimensions={self.dimensions} were asked for: it "
                "cannot shorten this model's; leave model.dimensions out"
            )
        finite = np.isfinite(matrix).all(axis=1)
        if not finite.all():
            text = batch[int(np.argmin(finite))]
            raise UnusableError(f"gives NaN or infinity for {excerpt(text)}; is the server's model whole?")
        return matrix

    def _prompt(self, role: Role) -> str:
        return self.query_prompt if role == "query" else self.document_prompt

    def _batches(self, prepared: Sequence[str]) -> Iterator[Int64]:
        """Yield the places of the texts of each request."""
        start, tokens = 0, 0
        for place, text in enumerate(prepared):
            more = estimated_tokens(text)
            if place > start and (place - start == self.batch_size or tokens + more > BATCH_TOKENS):
                yield np.arange(start, place)
                start, tokens = place, 0
            tokens += more
        if start < len(prepared):
            yield np.arange(start, len(prepared))

    def _announce(self, prepared: Sequence[str], requests: int, role: Role) -> None:
        tokens = sum(estimated_tokens(text) for text in prepared)
        what = "documents" if role == "document" else "queries"
        log.info(
            "%s: %s %s to encode in %s requests, about %s tokens, %s",
            self.name,
            f"{len(prepared):,}",
            what,
            f"{requests:,}",
            f"{tokens:,}",
            self._price(tokens) or "model.price_per_million_tokens would say what that costs",
        )

    def _account(self, counted: Sequence[int | None], sent_again: int, role: Role) -> None:
        said = [tokens for tokens in counted if tokens is not None]
        used, price = f"{sum(said):,} tokens", self._price(sum(said))
        if len(said) < len(counted):
            used = f"{used}, of {len(said)} answers: the others do not say" if said else "tokens that it does not tell"
        log.info(
            "%s: used %s%s; %d answers, %d requests sent again",
            self.name,
            used,
            f", {price}" if price and said else "",
            len(counted),
            sent_again,
        )

    def _price(self, tokens: int) -> str:
        price = self.price_per_million_tokens
        return "" if price is None else f"{tokens * price / 1e6:.4g} at {price:g} a million"


class UnusableError(Exception):
    """An answer that is none; says what the endpoint does, its words in full: they are cut when the key is out."""


def unpacked(embedding: Any) -> Float32:
    """Return a vector of an answer, which is a list of numbers or the base64 of little-endian float32.

    Raises
    ------
    UnusableError
        For anything else.
    """
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float32)
        vector = np.array(embedding, dtype=np.float32)
    except (ValueError, TypeError, OverflowError, binascii.Error):
        vector = np.empty((0, 0), dtype=np.float32)
    if vector.ndim != 1 or not isinstance(embedding, list):
        raise UnusableError(f"gives an embedding that is no list of numbers or base64 of them: {json.dumps(embedding)}")
    return vector


def number_at(answer: Mapping[str, Any], *path: str) -> int | None:
    """Return the count that lies at a path of names in an answer, None where there is none."""
    found: Any = answer
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return int(found) if type(found) in (int, float) and found == found // 1 else None


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a model reads of a text; at least 1."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN) or 1


def _hint(batch: Sequence[str]) -> str:
    """Say what may be wrong with the texts of a request that was refused, and what helps."""
    empty = sum(not text.strip() for text in batch)
    if empty:
        return (
            f"{empty} of its {len(batch)} texts are empty, which many models refuse; a model.document_prompt fills them"
        )
    longest = max(batch, key=len)
    return (
        f"the longest of its {len(batch)} texts has {len(longest):,} characters ({excerpt(longest)}); if it is too "
        "long, model.max_characters=N cuts texts; if they are too many, model.batch_size=N sends fewer"
    )
