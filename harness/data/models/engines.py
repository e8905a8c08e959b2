"""Engines that run a transformer in place of torch: ONNX Runtime and OpenVINO, from a conversion made on the spot.

sentence-transformers' own backends go through optimum, which lags behind transformers (optimum-onnx 0.1.0 wants one
before 4.58, optimum-intel 2.2.0 one before 5.6). Converted here is the torch model in memory, so that whatever was cut
or compressed before is in it; tokenizing, pooling and what follows stay sentence-transformers'.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.base.errors import ConfigError, MissingExtraError, ModelError
from harness.data.models.encoder import first_line

Backend = Literal["torch", "onnx", "openvino"]

EXAMPLE = ["a text", "and a longer text, so that the shorter one is padded"]
"""What a conversion is traced with: a model's code may leave the mask out where nothing is padded."""

QUANTIZED_BLOCK = 32
"""Weights that share a scale in 4 bits: the smallest block that ONNX Runtime has a fast kernel for."""


@dataclass(frozen=True)
class Engine:
    """What stands in for the forward pass of a transformer.

    Attributes
    ----------
    run : callable
        Takes int64 arrays (b, t) by name, returns the last hidden states, float32 (b, t, d).
    inputs : sequence of str
        The names.
    nbytes : int
        Of the file that the engine reads.
    """

    run: Callable[[Mapping[str, NDArray[np.int64]]], NDArray[np.float32]]
    inputs: Sequence[str]
    nbytes: int

    def __call__(self, **features: Any) -> Any:
        """Return what a Hugging Face transformer returns, with the last hidden states alone."""
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        states = self.run({name: features[name].numpy() for name in self.inputs})
        return BaseModelOutput(last_hidden_state=torch.from_numpy(np.asarray(states)))  # type: ignore[arg-type]


def check_backend(backend: str, dtype: str, device: str) -> None:
    """Raise `ConfigError` for options that do not go together."""
    if backend == "torch":
        return
    if device not in ("auto", "cpu"):
        raise ConfigError(f"model.backend={backend} runs on the processor, not on model.device={device}")
    types = ("float32",) if backend == "onnx" else ("float32", "bfloat16")
    if dtype not in types:
        raise ConfigError(f"model.backend={backend} computes in {' or '.join(types)}, not in model.dtype={dtype}")


def run_by(backend: Backend, model: Any, name: str, dtype: str = "float32", bits: int | None = None) -> None:
    """Let an engine run the transformer of a sentence-transformers model, in place; torch's weights are let go.

    Parameters
    ----------
    backend : {"onnx", "openvino"}
    model : sentence_transformers.SentenceTransformer
        On the CPU.
    name : str
        What the model is called.
    dtype : {"float32", "bfloat16"}
        What OpenVINO computes in.
    bits : {8, 4} or None
        Weights quantized by ONNX Runtime. 8: of each output channel, and activations as they come (dynamic
        quantization). 4: in blocks of 32.

    Raises
    ------
    MissingExtraError
        Without the engine's package.
    ModelError
        If the model cannot be converted.
    """
    transformer = model[0].auto_model
    tokens = model.tokenizer(EXAMPLE, padding=True, return_tensors="pt")
    features = {key: value for key, value in tokens.items() if key in model.tokenizer.model_input_names}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing, which both conversions rest on
            engine = (
                _onnx(transformer, features, bits) if backend == "onnx" else _openvino(transformer, features, dtype)
            )
    except MissingExtraError:
        raise
    except Exception as error:
        raise ModelError(
            f"{name} cannot be converted for model.backend={backend}: {first_line(error)}; model.backend=torch takes "
            "any model"
        ) from error
    transformer.forward = engine
    for parameter in transformer.parameters():
        parameter.data = parameter.data.new_empty(0)


def _traced(transformer: Any) -> Any:
    """Return the transformer as a module from positional tensors to the last hidden states."""
    import torch

    class LastHiddenState(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, names: Sequence[str]) -> None:
            super().__init__()
            self.transformer = transformer
            self.names = names

        def forward(self, *tensors: Any) -> Any:
            return self.transformer(**dict(zip(self.names, tensors, strict=True))).last_hidden_state

    return LastHiddenState


def _onnx(transformer: Any, features: Mapping[str, Any], bits: int | None) -> Engine:
    import torch

    try:
        import onnx  # noqa: F401  (torch writes the file with it)
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "onnx", "model.backend=onnx") from error
    names = list(features)
    onnxruntime.set_default_logger_severity(3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        with torch.inference_mode():
            # not the dynamo exporter: it takes twenty times as long, and onnxscript beside onnx
            torch.onnx.export(
                _traced(transformer)(names).eval(),
                tuple(features.values()),
                str(path),
                dynamo=False,
                input_names=names,
                output_names=["states"],
                dynamic_axes={key: {0: "texts", 1: "tokens"} for key in [*names, "states"]},
                opset_version=17,
            )
        if bits is not None:
            path = _quantized(path, bits)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        size = path.stat().st_size
    inputs = [given.name for given in session.get_inputs()]  # a model that ignores one has it no more
    return Engine(lambda arrays: session.run(["states"], dict(arrays))[0], inputs, size)


def _quantized(path: Path, bits: int) -> Path:
    """Return the path of an ONNX file's quantized form, beside it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    made = path.with_name(f"model-{bits}.onnx")
    logging.disable(logging.WARNING)  # advice on steps that change nothing here
    try:
        if bits == 8:
            tables = ["MatMul", "Gemm", "Gather"]
            quantize_dynamic(path, made, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=tables)
            return made
        import onnx
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantizer = MatMulNBitsQuantizer(
            onnx.load(path), block_size=QUANTIZED_BLOCK, is_symmetric=False, op_types_to_quantize=("MatMul", "Gather")
        )
        quantizer.process()
        quantizer.model.save_model_to_file(str(made), use_external_data_format=False)
        return made
    finally:
        logging.disable(logging.NOTSET)


def _openvino(transformer: Any, features: Mapping[str, Any], dtype: str) -> Engine:
    import torch

    try:
        import openvino
    except ModuleNotFoundError as error:
        raise MissingExtraError("openvino", "openvino", "model.backend=openvino") from error
    names = list(features)
    with torch.inference_mode():
        converted = openvino.convert_model(_traced(transformer)(names).eval(), example_input=tuple(features.values()))
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(converted, Path(folder) / "model.xml", compress_to_fp16=False)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if dtype == "bfloat16" else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = openvino.Core().compile_model(converted, "CPU", hints)

    def run(arrays: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        states: NDArray[np.float32] = compiled(list(arrays.values()))[0]
        return states

    return Engine(run, names, size)
