"""What a setting does to documents and queries, in words that are read off its parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Part = Mapping[str, Any]

SPANS = {
    "fixed": "fixed, whatever the vectors",
    "collection": "one for all numbers, from the documents",
    "dimension": "each dimension's own, from the documents",
    "document": "each document's own",
}
"""What the range that the steps divide belongs to."""
ASKED = 10
"""Documents that a query asks for, where a policy does not say."""


@dataclass(frozen=True)
class Recipe:
    """A setting in words.

    Attributes
    ----------
    bits : float
        Of each number that is scanned; NaN if the codes are not of single numbers.
    steps : int or None
        Into which its range is divided.
    span : str or None
        What the range belongs to, a key of `SPANS`; None if the codes are not of single numbers.
    span_in_words, rounding, query, rescoring : str
        Empty if unknown; rescoring is "none" where nothing is read again.
    fixed : (float, float) or None
        The ends of a fixed range.
    rescored : bool
        Whether documents are read again.
    raw : bool
        Whether bin numbers are compared as they are, never mapped back.
    """

    bits: float
    steps: int | None
    span: str | None
    span_in_words: str
    rounding: str
    query: str
    rescoring: str
    fixed: tuple[float, float] | None
    rescored: bool
    raw: bool


def recipe(identity: Part) -> Recipe:
    """Read a setting's parameters.

    Parameters
    ----------
    identity : mapping
        All parameters of all parts, as a record's `identity["method"]` has them.
    """
    rescoring, scanned = "none", identity
    if _kind(identity) == "Rescore":
        rescoring, scanned = _rescoring(identity), identity["first"]
    chain = list(_nested(scanned))
    codec, transforms = chain[-1], [part for outer in chain for part in outer.get("transforms") or ()]
    span, words, steps, bits, fixed = _span(codec)
    before = [text for part in transforms if (text := _before(part))]
    return Recipe(
        bits=bits,
        steps=steps,
        span=span,
        span_in_words=", ".join([*before, words] if words else before),
        rounding=_rounding(codec),
        query=_query(chain, transforms),
        rescoring=rescoring,
        fixed=fixed,
        rescored=rescoring != "none",
        raw=_scoring(chain) == "raw_codes",
    )


def _kind(part: Part) -> str:
    return str(part["_target_"]).rpartition(".")[2]


def _nested(part: Part) -> list[Part]:
    """Return a codec and the codecs inside it, the one that makes the codes last."""
    inner = part.get("codec")
    return [part, *_nested(inner)] if isinstance(inner, Mapping) else [part]


def _before(transform: Part) -> str:
    kind = _kind(transform)
    if kind == "RandomRotation":
        return "after a random rotation"
    if kind in ("SVD", "PCA", "Truncate") and transform.get("dim"):
        return f"after a projection to {transform['dim']} dimensions"
    return ""


def _span(codec: Part) -> tuple[str | None, str, int | None, float, tuple[float, float] | None]:
    """Return whose range it is, the rule in words, its steps, the bits of a number, and a fixed range's ends."""
    kind, bits = _kind(codec), int(codec.get("bits") or 0)
    if kind == "GlobalRange":
        rule, steps = codec["range"], int(codec["steps"])
        width = float(steps.bit_length())
        if _kind(rule) == "Fixed":
            ends = (float(rule["low"]), float(rule["high"]))
            return "fixed", f"fixed: {ends[0]:g} to {ends[1]:g}", steps, width, ends
        return "collection", _rule(rule), steps, width, None
    if kind == "PerDimension":
        words = f", as far as {codec['clip']:g} standard deviations" if codec["clip"] else ", least to greatest"
        even = bool(codec.get("about_zero"))
        words += ", as far on both sides of zero" if even else ""
        return "dimension", "each dimension's own" + words, 2**bits - 1 - even, float(bits), None
    factory = re.fullmatch(r"SQ(\d+)", str(codec.get("factory", "")))
    if factory:
        return "dimension", "each dimension's own, least to greatest", 2 ** int(factory[1]) - 1, float(factory[1]), None
    if kind in ("LVQ", "NVQ", "OSQ"):
        words = "each document's own"
        words += {"LVQ": ", least to greatest", "NVQ": ", its steps on a fitted curve", "OSQ": ", fitted to it"}[kind]
        words += ", less the mean" if codec["centre"] != "none" else ""
        return "document", words, 2**bits - 1, float(bits), None
    if kind == "ScaledLevels" and bits > 1:
        words = "each document's own, to its greatest number on both sides of zero"
        return "document", words, 2**bits - 1, float(bits), None
    if kind == "Cast":
        return None, "", None, float(re.findall(r"\d+", codec["dtype"])[0]), None
    return None, "", None, np.nan, None


def _rule(rule: Part) -> str:
    kind, one = _kind(rule), "one for all numbers"
    if kind == "Extremes":
        if rule["outside"]:
            return f"{one}: least to greatest of {100 - rule['outside']:g} % of them"
        return f"{one}: least to greatest"
    if kind == "TailCut":
        return f"{one}: least to greatest, a few cut off (quantile {rule['quantile']:g} of the documents)"
    if kind == "ChunkQuantiles":
        share = "d / (d + 1)" if rule["confidence"] is None else f"{100 * rule['confidence']:g} %"
        return f"{one}: {share} of them, quantiles of {rule['chunk']} documents at a time averaged"
    if kind == "ScoreCorrelation":
        return f"{one}: what keeps the nearest documents' scores best"
    return f"{one}: {kind}"


def _rounding(codec: Part) -> str:
    if _kind(codec) in ("LVQ", "NVQ", "OSQ", "ScaledLevels") or codec.get("factory"):
        return "nearest"
    known = {"nearest": "nearest", "floor": "down", "to_zero": "towards zero: decimals cut off"}
    return known.get(str(codec.get("rounding", "")), "")


def _query(chain: Sequence[Part], transforms: Sequence[Part]) -> str:
    """Return what becomes of the query."""
    codec = chain[-1]
    scoring = _scoring(chain)
    if scoring == "raw_codes":
        return "rounded likewise, bin numbers compared as they are"
    if scoring == "symmetric":
        return "rounded likewise" + (", first-order correction" if codec.get("corrected") else "")
    bits = codec.get("query_bits") or next((part["bits"] for part in transforms if _kind(part) == "QueryCode"), 0)
    if bits:
        return f"{bits} bit" + ("" if bits == 1 else "s")
    return "float"


def _scoring(chain: Sequence[Part]) -> str:
    return next((part["scoring"] for part in chain if part.get("scoring", "asymmetric") != "asymmetric"), "")


def _rescoring(codec: Part) -> str:
    policy, second = codec["policy"], list(_nested(codec["second"]))[-1]
    if _kind(second) == "Cast":
        again = {"float32": "floats"}.get(second["dtype"], second["dtype"])
    elif _kind(second) == "Sign":
        again = "signs with the float query"
    else:
        bits = _span(second)[3] + (second.get("residual_bits") or 0)
        again = f"codes of {bits:g} bits" if np.isfinite(bits) else "better codes"
    asked = policy["limit"] or ASKED
    if _kind(policy) == "ErrorBound":
        return f"as many as an error bound wants, at most {asked * policy['most']:,.0f}, as {again}"
    length = policy["rows"] or max(int(np.ceil(policy["factor"] * asked)), policy["at_least"] or 0)
    only = " (only put in order)" if length <= asked else ""
    return f"{length:,} for {asked}{only}, as {again}"
