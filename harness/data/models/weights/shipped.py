"""What the weights of a model take as a file."""

from __future__ import annotations

from typing import Any


def shipped_bytes(model: Any) -> int:
    """Return the bytes of a sentence-transformers model's weights as they would be shipped.

    Of a torch model, all tensors of its state, each once, as the type that they are kept as; of one that an engine
    runs, the file that the engine reads, and the tensors of what comes after. Tokenizers are not among them.
    """
    engine: int = sum(getattr(part.forward, "nbytes", 0) for part in model.modules())
    stored = getattr(model, "stored_dtype", None)
    tensors = {tensor.data_ptr(): tensor for tensor in model.state_dict().values() if tensor.numel()}
    sizes: list[int] = [
        tensor.numel() * (stored.itemsize if stored is not None and tensor.is_floating_point() else tensor.itemsize)
        for tensor in tensors.values()
    ]
    return engine + sum(sizes)
