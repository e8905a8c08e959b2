"""How large a model is that was changed in memory."""

from __future__ import annotations

from typing import Any


def weight_bytes(module: Any) -> int:
    """Return the bytes of a torch module's weights as a file would hold them: once what several parts share.

    Parameters
    ----------
    module : torch.nn.Module
    """
    tensors = {}
    for value in module.state_dict().values():
        if hasattr(value, "untyped_storage"):
            tensors[value.data_ptr(), value.shape, value.dtype] = value
    return sum(value.numel() * value.element_size() for value in tensors.values())


def accelerator(device: Any) -> str:
    """Return the name of what a torch device is: "cpu", "mps", or the name of the graphics card."""
    if getattr(device, "type", "cpu") != "cuda":
        return str(getattr(device, "type", device))
    import torch

    return str(torch.cuda.get_device_name(device))
