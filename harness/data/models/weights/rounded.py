"""Weights that are kept as float16 or bfloat16 and computed with as float32: half the bytes, the same speed."""

from __future__ import annotations

from typing import Any, Literal

import torch


def store_as(model: Any, dtype: Literal["float16", "bfloat16"]) -> None:
    """Round all weights of a module to what the type holds, in place; they stay float32 tensors.

    What they are kept as is left in the attribute `stored_dtype`, for whoever sizes them.
    """
    stored = getattr(torch, dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(stored).float())
    model.stored_dtype = stored
