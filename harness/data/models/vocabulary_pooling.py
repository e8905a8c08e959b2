"""SPLADE's pooling without the logits of all tokens: on a processor, the larger part of such a model's time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from harness.data.models.encoder import Role

TERM_BLOCK = 256
"""Terms whose logits are there at a time."""

TOKEN_BLOCK = 512
"""Tokens whose logits are: half a megabyte of them stays in a core's cache, and is read again while it is there."""

MASKED_MODELS = ("BertForMaskedLM", "DistilBertForMaskedLM")
"""Models whose logits are what their output embeddings make of the last hidden vectors, and nothing else."""


@dataclass(frozen=True)
class VocabularyPooling:
    """The weights of terms by a masked language model: max over tokens of log(1 + relu(logit)) (Formal et al., 2021).

    The logarithm grows with the logit, so that the largest logit is taken first, and one number a term, in place of
    one for each of its tokens, goes through it. Padding repeats the text's first token, which changes no maximum.
    """

    masked: Any
    tokenizer: Any
    max_seq_length: int
    logarithms: int

    @classmethod
    def of(cls, model: Any, role: Role) -> Self | None:
        """Return the pooling of a sentence-transformers `SparseEncoder`, or None where its own code must do.

        Its own code is for other architectures and poolings, half precision, and accelerators, which hold the logits.
        """
        import torch

        modules = list(model)
        routes = getattr(modules[0], "sub_modules", None)
        if routes is not None and len(modules) == 1 and role in routes:
            modules = list(routes[role])
        if model.device.type != "cpu" or len(modules) != 2:
            return None
        transformer, pooling = modules
        masked: Any = getattr(transformer, "auto_model", None)
        if type(masked).__name__ not in MASKED_MODELS or masked.dtype != torch.float32:
            return None
        activation = getattr(pooling, "activation_function", None)
        if getattr(pooling, "pooling_strategy", None) != "max" or activation not in ("relu", "log1p_relu"):
            return None
        tokenizer = transformer.tokenizer
        if not tokenizer.is_fast:
            return None
        limit = transformer.max_seq_length or tokenizer.model_max_length
        return cls(masked, tokenizer, limit, 1 if activation == "relu" else 2)

    def weights(self, texts: Sequence[str]) -> Any:
        """Return the weights of all terms, a float32 tensor (n, V)."""
        import torch

        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_seq_length, return_tensors="pt"
        )
        head = self.masked.get_output_embeddings()
        with torch.inference_mode():
            with _passed_through(head):
                hidden = self.masked(**tokens).logits
            hidden = torch.where(tokens["attention_mask"].bool()[:, :, None], hidden, hidden[:, :1])
            weights = largest_logits(hidden, head.weight, head.bias).relu_()
            for _ in range(self.logarithms):
                weights.log1p_()
        return weights


@contextmanager
def _passed_through(module: Any) -> Iterator[None]:
    """Let a layer return what it is given."""
    module.forward = lambda values: values
    try:
        yield
    finally:
        del module.forward


def largest_logits(hidden: Any, embeddings: Any, bias: Any) -> Any:
    """Return max over tokens t of hidden[i, t] . embeddings[v] + bias[v], a tensor (n, V).

    Parameters
    ----------
    hidden : tensor (n, tokens, h)
    embeddings : tensor (V, h)
    bias : tensor (V,)
    """
    import torch

    n, length, _ = hidden.shape
    largest = torch.empty((n, len(embeddings)), dtype=hidden.dtype)
    texts = max(1, TOKEN_BLOCK // length)
    for first in range(0, n, texts):
        some = hidden[first : first + texts]
        for start in range(0, len(embeddings), TERM_BLOCK):
            logits = some @ embeddings[start : start + TERM_BLOCK].T
            torch.amax(logits, 1, out=largest[first : first + texts, start : start + TERM_BLOCK])
    return largest.add_(bias)
