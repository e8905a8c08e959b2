"""Requests to an endpoint that answers in JSON: the key, the waits, and what is sent again."""

from __future__ import annotations

import email.utils
import functools
import http.client
import json
import logging
import os
import random
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.base.errors import ConfigError, ModelError
from harness.data.models.encoder import first_line

log = logging.getLogger(__name__)

FIRST_WAIT = 0.5
"""Seconds before a request is sent a second time; twice as long before each further time."""

LONGEST_WAIT = 60.0
"""Seconds, unless the endpoint asks for more."""

NOTED_WAIT = 20.0
"""Seconds from which a wait is worth a line."""

SENT_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that another try may not meet."""

KeyHeader = tuple[str, str]
"""The header that takes the key, and what stands before the key in it."""

BEARER: KeyHeader = ("Authorization", "Bearer ")

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def checked_url(url: str) -> str:
    """Return a base URL in one spelling: no slash at its end, scheme and host in small letters.

    Raises
    ------
    ConfigError
        If it is none, or carries a user, a password or a query: it is part of records, and those could be secrets.
        The message does not repeat it.
    """
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in ("http", "https"):
        raise ConfigError("model.base_url must be a URL such as https://api.openai.com/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            "model.base_url must have no user, password or query, since records name it; "
            "the key belongs in the environment variable that model.api_key_env names"
        )
    shown = f"[{host}]" if ":" in host else host
    netloc = shown if port is None else f"{shown}:{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


def check_variable(name: str | None) -> None:
    """Raise `ConfigError` for what is no variable's name, and may be the key itself; the message does not repeat it."""
    if name is not None and not re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", name):
        raise ConfigError(
            "model.api_key_env must be the name of an environment variable in capitals, such as OPENAI_API_KEY, "
            "and never the key: records hold it"
        )


@dataclass
class _PassingError(Exception):
    """A request that may be sent again.

    Attributes
    ----------
    reason : str
        How it ended.
    wait : float
        Seconds that the endpoint asked for.
    refused : bool
        Nobody is there.
    """

    reason: str
    wait: float = 0.0
    refused: bool = False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would send the key along to wherever an answer points, and leave the texts behind."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Endpoint:
    """One URL that takes JSON and answers in JSON, from any number of threads.

    The key is read from the environment here, and goes into the header of requests and nowhere else: what the endpoint
    answers is shown with the key blotted out.

    Parameters
    ----------
    url : str
    variable : str or None
        The environment variable of the key; None, or a variable that is not there, sends none.
    timeout : float
        Seconds without an answer after which a request counts as lost.
    retries : int
        How many times a request is sent again.
    key_header : KeyHeader
    """

    def __init__(
        self, url: str, variable: str | None, timeout: float, retries: int, key_header: KeyHeader = BEARER
    ) -> None:
        self.url = url
        self.sent_again = 0
        self._variable = variable
        self._key = os.environ.get(variable, "").strip() if variable else ""
        if not re.fullmatch(r"[!-~]*", self._key):
            raise ModelError(
                f"the key in the environment variable {variable} has characters that no key has (a space, a line's "
                "end, a letter with an accent): set it again"
            )
        self._key_header = key_header
        self._timeout = timeout
        self._retries = retries
        host = urllib.parse.urlsplit(url).hostname
        if self._key and host not in LOOPBACK and url.startswith("http:"):
            _warn_of_plain_http(url, str(variable))
        # what listens on this machine is not reached through a proxy
        proxies = [urllib.request.ProxyHandler({})] if host in LOOPBACK else []
        self._opener = urllib.request.build_opener(_NoRedirect(), *proxies)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._answered = False

    def stop(self) -> None:
        """Send nothing again from now on; requests that are under way are still answered."""
        self._stopped.set()

    def post(self, content: Mapping[str, Any]) -> Any:
        """Return the JSON that answers.

        What may pass is tried again: statuses such as 429 and 500, no answer in time, a connection or an answer that
        was cut off. It waits twice as long each time, by chance up to a half less, so that requests which failed
        together do not return together; and at least as long as a Retry-After asks for.

        Raises
        ------
        ModelError
            For any other status, an answer that is not JSON, nobody at the URL, or as many failures as are allowed.
        """
        body = json.dumps(content).encode()
        for attempt in range(self._retries + 1):
            self._pause(self._not_before - time.monotonic())
            try:
                answer = self._sent(body)
            except _PassingError as failure:
                if failure.refused and not self._answered:
                    raise ModelError(
                        f"{self.url}: nobody answers ({failure.reason}); start the server, or correct model.base_url"
                    ) from None
                if attempt == self._retries or self._stopped.is_set():
                    raise ModelError(
                        f"{self.url}: {failure.reason}, after {attempt + 1} tries; start again later, which sends "
                        "what is missing, or try less model.batch_size or model.concurrency, more model.timeout"
                    ) from None
                self._wait(attempt, failure)
            else:
                self._answered = True
                return answer
        raise AssertionError

    def refusal(self, reason: str) -> ModelError:
        """Return the error of an answer that cannot be used."""
        return ModelError(f"{self.url} {self._shown(reason)}")

    def _wait(self, attempt: int, failure: _PassingError) -> None:
        wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1)
        with self._lock:
            self.sent_again += 1
            if failure.wait:
                # who asks for a pause asks all threads
                self._not_before = max(self._not_before, time.monotonic() + failure.wait)
        if max(wait, failure.wait) >= NOTED_WAIT:
            log.info("%s: %s; waiting %.0f s", self.url, failure.reason, max(wait, failure.wait))
        self._pause(wait)

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._stopped.wait(seconds)

    def _sent(self, body: bytes) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "vecbudget"}
        if self._key:
            name, before = self._key_header
            headers[name] = before + self._key
        request = urllib.request.Request(self.url, data=body, headers=headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return self._decoded(response.read(), response.headers.get("Content-Type", ""))
        except urllib.error.HTTPError as error:
            raise self._failure(error.code, error.headers, _rest(error)) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None

    def _decoded(self, content: bytes, kind: str) -> Any:
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            pass
        shown = self._shown(content.decode("utf-8", "replace"))[:80]
        if content.lstrip()[:1] in (b"{", b"[", b"") or "json" in kind:
            raise _PassingError(f"an answer was cut off, or is not JSON: {shown!r}")
        raise ModelError(f"{self.url} answers with something other than JSON ({shown!r}); correct model.base_url")

    def _failure(self, status: int, headers: Any, content: bytes) -> Exception:
        """Return the error, or the new try, that an answer with a status of failure calls for."""
        said, code = _said(content)
        said = self._shown(said)
        shown = f"HTTP {status}: {said}" if said else f"HTTP {status}"
        if code == "insufficient_quota":
            return ModelError(f"{self.url}: the account has no credit left ({shown})")
        if status in SENT_AGAIN:
            return _PassingError(shown, _asked_wait(headers.get("Retry-After") or _retry_delay(content)))
        # Google answers 400 to a wrong key
        if status in (401, 403) or b"API_KEY_INVALID" in content:
            if self._key:
                return ModelError(f"{self.url} refuses the key in {self._variable} ({shown}); set the right one there")
            lacks = "model.api_key_env names none" if self._variable is None else f"{self._variable} is not set"
            return ModelError(f"{self.url} wants a key ({shown}), and {lacks}; export it in your shell")
        if 300 <= status < 400:
            target = str(headers.get("Location", "")).partition("?")[0]
            return ModelError(
                f"{self.url} sends on to {self._shown(target) or 'elsewhere'} ({shown}), where no key is sent unasked; "
                "if that is right, it is model.base_url"
            )
        if status in (404, 405):
            return ModelError(f"{self.url}: {shown}; correct model.base_url or model.name")
        return RefusedError(f"{self.url} refuses a request ({shown})")

    def _lost(self, error: Exception) -> Exception:
        """Return the same for a connection without a whole answer."""
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ModelError(f"{self.url}: its certificate is not trusted here ({cause.verify_message})")
        if isinstance(cause, ConnectionRefusedError):
            return _PassingError("connection refused", refused=True)
        if isinstance(cause, socket.gaierror):
            return _PassingError("its host is unknown", refused=True)
        if isinstance(cause, TimeoutError):
            return _PassingError(f"no answer in {self._timeout:g} s")
        shown = self._shown(first_line(cause) if isinstance(cause, Exception) else str(cause))
        return _PassingError(f"the connection broke ({shown})")

    def _shown(self, text: str) -> str:
        """Return a text of the endpoint's in one line, without the key."""
        if self._key:
            text = text.replace(self._key, "[the key]")
        return " ".join(text.split())[:300]


class RefusedError(ModelError):
    """A request whose content is at fault."""


@functools.cache
def _warn_of_plain_http(url: str, variable: str) -> None:
    """Say once a process and URL that the key can be read on its way."""
    log.warning("%s: the key in %s goes to another machine over plain http; use https, or no key", url, variable)


def _rest(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read()
    except (OSError, http.client.HTTPException):
        return b""


def _said(content: bytes) -> tuple[str, str | None]:
    """Return what an answer says of its failure, and its name for it."""
    text = content.decode("utf-8", "replace")
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return text, None
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, dict):
        said = error.get("message") or error.get("detail") or error
        code = error.get("code") or error.get("type")
        return said if isinstance(said, str) else json.dumps(said), str(code)
    return error if isinstance(error, str) else text, None


def _retry_delay(content: bytes) -> str | None:
    """Return the seconds that Google asks for in the answer itself, a google.rpc.RetryInfo."""
    found = re.search(rb'"retryDelay":\s*"([\d.]+)s"', content)
    return found[1].decode() if found else None


def _asked_wait(value: str | None) -> float:
    """Return the seconds of a Retry-After, which are a number or a date; 0 for none."""
    if value is None:
        return 0.0
    if re.fullmatch(r"\s*\d{1,6}(\.\d*)?\s*", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
