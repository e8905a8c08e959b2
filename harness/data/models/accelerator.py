"""What a model ran on."""

from __future__ import annotations

from typing import Any


def accelerator(device: Any) -> str:
    """Return the name of what a torch device is: "cpu", "mps", or the name of the graphics card."""
    if getattr(device, "type", "cpu") != "cuda":
        return str(getattr(device, "type", device))
    import torch

    return str(torch.cuda.get_device_name(device))
