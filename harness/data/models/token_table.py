"""The table of a static model: a vector for each token, read from files or distilled, and compressed by any code."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import MissingExtraError, ModelError
from harness.data.models.encoder import first_line, read_json
from harness.data.models.sentence_transformer import SentenceTransformerModel
from methods.base import Codec, Codes

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

UNUSED = r"\[unused\d+\]"
"""Tokens that no text has, as model2vec leaves them out."""

BATCH = 512
"""Tokens in a forward pass of the teacher."""


@dataclass(frozen=True, eq=False)
class TokenTable:
    """A vector for each token of a tokenizer.

    Attributes
    ----------
    rows : float32 (t, d)
    row_of : int64 (v,)
        The row of each of the tokenizer's tokens; -1 for those that add nothing to a text.
    tokenizer : Path
        Its tokenizer.json.
    file_bytes : int
        Of the files as they are shipped, the tokenizer included; of a distilled table, as safetensors would hold it.
    counts_unknown : bool
        Whether the unknown token counts in a text's mean, as it does in sentence-transformers and not in model2vec.
    """

    rows: Float32
    row_of: Int64
    tokenizer: Path
    file_bytes: int
    counts_unknown: bool = False

    @classmethod
    def of_distilled(cls, rows: Float32, row_of: Int64, tokenizer: Path) -> TokenTable:
        """Return a table that was distilled, with its size."""
        return cls(rows, row_of, tokenizer, tokenizer.stat().st_size + rows.nbytes)

    def first(self, count: int) -> TokenTable:
        """Return the table of the first so many tokens alone: in a tokenizer's order, the most frequent ones.

        Raises
        ------
        ModelError
            If it has fewer.
        """
        if count > len(self.rows):
            raise ModelError(f"model.tokens={count}, but the table has {len(self.rows)} tokens")
        kept = np.where(self.row_of < count, self.row_of, -1)
        rows = np.ascontiguousarray(self.rows[:count])
        return TokenTable(rows, kept, self.tokenizer, self._sized(rows), self.counts_unknown)

    def narrowed(self, dim: int) -> TokenTable:
        """Return the table with its first dimensions alone: of a distilled one, the principal ones."""
        rows = np.ascontiguousarray(self.rows[:, :dim])
        return TokenTable(rows, self.row_of, self.tokenizer, self._sized(rows), self.counts_unknown)

    def through(self, codec: Codec) -> TokenTable:
        """Return the table that a code leaves of this one: fitted, encoded, written, read by a fresh codec, decoded.

        Parameters
        ----------
        codec : Codec
            Unfitted. Rows are tokens: what it calls documents.

        Raises
        ------
        methods.base.MethodError
            If it does not fit the table.
        """
        from copy import deepcopy

        from safetensors.numpy import load, save

        fresh = deepcopy(codec)
        fitted = deepcopy(codec).fit(self.rows)
        codes = fitted.encode(self.rows)
        files = save(_contiguous(codes.to_arrays())), save(_contiguous(fitted.state()))
        fresh.load_state(load(files[1]))
        decoded = fresh.decode(Codes.from_arrays(codes.n, load(files[0])))
        size = self.tokenizer.stat().st_size + sum(len(content) for content in files)
        return TokenTable(decoded, self.row_of, self.tokenizer, size, self.counts_unknown)

    def _sized(self, rows: Float32) -> int:
        from safetensors.numpy import save

        return self.tokenizer.stat().st_size + len(save({"embeddings": rows}))


def _contiguous(arrays: Any) -> dict[str, Any]:
    # not by ascontiguousarray, which makes a vector of a number
    return {name: np.asarray(array, order="C") for name, array in arrays.items()}


def read_static(files: Any) -> TokenTable | None:
    """Return the table of a static model, None of a model that is none.

    The layouts of model2vec (`embeddings`, with `weights` and `mapping` where its vocabulary was quantised) and of
    sentence-transformers' StaticEmbedding (`embedding.weight`) are known.

    Parameters
    ----------
    files : harness.data.models.hub.ModelFolder or HubModel

    Raises
    ------
    ModelError
        If a file cannot be read, or the table has another number of rows than the tokenizer has tokens.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    modules = files.read("modules.json") or []
    static = [module for module in modules if str(module.get("type", "")).endswith("StaticEmbedding")]
    is_model2vec = (files.read("config.json") or {}).get("model_type") == "model2vec"
    if not static and not is_model2vec:
        return None
    folder = str(static[0].get("path") or "").strip("./") if static else ""
    prefix = f"{folder}/" if folder else ""
    weights, tokenizer = files.path_of(f"{prefix}model.safetensors"), files.path_of(f"{prefix}tokenizer.json")
    if weights is None or tokenizer is None:
        lacking = "model.safetensors" if weights is None else "tokenizer.json"
        raise ModelError(f"the static model has no {prefix}{lacking}")
    try:
        tensors = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{weights} cannot be read: {first_line(error)}") from error
    name = next((name for name in ("embeddings", "embedding.weight") if name in tensors), None)
    if name is None:
        raise ModelError(f"{weights} has neither 'embeddings' nor 'embedding.weight': {', '.join(sorted(tensors))}")
    rows = tensors[name].astype(np.float32)
    if "mapping" in tensors:
        rows = rows[tensors["mapping"].astype(np.int64)]
    if "weights" in tensors:
        rows = rows * tensors["weights"].astype(np.float32)[:, None]
    tokens = 1 + max(_plain_tokenizer(tokenizer).get_vocab().values())
    if len(rows) < tokens:
        raise ModelError(f"{weights} has {len(rows)} rows, but its tokenizer has {tokens} tokens")
    size = files.shipped_bytes()
    return TokenTable(rows, np.arange(len(rows)), tokenizer, size, counts_unknown=name == "embedding.weight")


@functools.lru_cache(maxsize=2)
def distilled(folder: str, revision: str | None, sif: float | None, device: str) -> TokenTable:
    """Return the table that model2vec's recipe makes of a sentence-transformers model (Tulkens and van Dongen, 2024).

    Each token of the vocabulary goes through the model by itself, between the markers that the tokenizer puts around a
    text; its vector is the mean of the last hidden states, markers included. The vectors are turned to their principal
    axes, about their mean, and each is scaled by sif / (sif + p), where p is a token's frequency by Zipf's law from its
    rank in the tokenizer (Arora et al., 2017, smooth inverse frequency).

    Parameters
    ----------
    folder : str
        Or hub id.
    revision : str or None
    sif : float or None
        None leaves the lengths as they are.
    device : str

    Returns
    -------
    TokenTable
        Of the model's own width; the first dimensions are the principal ones.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch", "models", "distilling a static model") from error
    teacher = SentenceTransformerModel(name=folder, revision=revision, device=device)
    tokenizer = teacher.path_of("tokenizer.json")
    if tokenizer is None:
        raise ModelError(f"{folder} has no tokenizer.json: only fast tokenizers are distilled")
    vocabulary = _plain_tokenizer(tokenizer).get_vocab()
    special = {entry["content"] for entry in read_json(tokenizer).get("added_tokens", [])}
    by_id = sorted((number, token) for token, number in vocabulary.items())
    kept = np.array([number for number, token in by_id if token not in special and not re.fullmatch(UNUSED, token)])
    model = teacher.loaded
    before, after = _markers(tokenizer)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(kept), BATCH):
            ids = [[*before, int(token), *after] for token in kept[start : start + BATCH]]
            batch = torch.tensor(ids, device=model.device)
            features = {"input_ids": batch, "attention_mask": torch.ones_like(batch)}
            parts.append(model[0](features)["token_embeddings"].float().mean(dim=1).cpu().numpy())
    vectors = np.concatenate(parts).astype(np.float64)
    vectors -= vectors.mean(axis=0)
    axes = np.linalg.eigh(vectors.T @ vectors)[1][:, ::-1]
    rows = (vectors @ axes * _zipf_weights(len(kept), sif)[:, None]).astype(np.float32)
    row_of = np.full(1 + by_id[-1][0], -1, dtype=np.int64)
    row_of[kept] = np.arange(len(kept))
    log.info("distilled %d tokens of %s", len(kept), teacher.label)
    return TokenTable.of_distilled(rows, row_of, tokenizer)


def _zipf_weights(count: int, sif: float | None) -> NDArray[np.float64]:
    """Return sif / (sif + p) of tokens in order of frequency, p of rank r in proportion to 1 / (r + 1)."""
    if sif is None:
        return np.ones(count)
    frequency = 1 / np.arange(2, count + 2)
    weights: NDArray[np.float64] = sif / (sif + frequency / frequency.sum())
    return weights


@functools.lru_cache(maxsize=2)
def _plain_tokenizer(path: Path) -> Any:
    """Return a tokenizer without padding and limits, read once: reading takes longer than the tokens of many texts."""
    from tokenizers import Tokenizer

    try:
        found = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises no class of its own
        raise ModelError(f"{path} is no tokenizer: {first_line(error)}") from error
    found.no_padding()
    found.no_truncation()
    return found


def _markers(tokenizer: Path) -> tuple[list[int], list[int]]:
    """Return the tokens that a tokenizer puts before and after a text."""
    encoding = _plain_tokenizer(tokenizer).encode("a")
    inside = [place for place, marker in enumerate(encoding.special_tokens_mask) if not marker]
    return encoding.ids[: inside[0]], encoding.ids[inside[-1] + 1 :]


def mean_vectors(table: TokenTable, texts: Sequence[str], max_length: int | None) -> Float32:
    """Return the mean of each text's token vectors, float32 (n, d); a text without known tokens gets zeros."""
    from scipy.sparse import csr_array

    tokenizer = _plain_tokenizer(table.tokenizer)
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
    unknown = None if table.counts_unknown else _unknown_id(tokenizer)
    found = []
    for own in ids:
        rows = table.row_of[np.array(own[:max_length], dtype=np.int64)]
        if unknown is not None:
            rows = rows[np.array(own[:max_length], dtype=np.int64) != unknown]
        found.append(rows[rows >= 0])
    counts = np.array([len(rows) for rows in found], dtype=np.int64)
    places = np.concatenate([*found, np.empty(0, dtype=np.int64)])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    shape = (len(found), len(table.rows))
    sums = csr_array((np.ones(len(places), dtype=np.float32), places, offsets), shape=shape) @ table.rows
    means: Float32 = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    return means


def _unknown_id(tokenizer: Any) -> int | None:
    token = getattr(tokenizer.model, "unk_token", None)
    return None if token is None else tokenizer.token_to_id(token)
