"""Export to FAISS: an index with a method's codes, where FAISS can hold them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from methods.base import Codec, Codes, Float32, MethodError, Transform, row_blocks
from methods.binary.sign import Sign
from methods.composed.chain import Chain
from methods.composed.store_layout import AsWritten
from methods.product.faiss_codec import FaissCodec
from methods.scalar.cast import Cast
from methods.scalar.global_range import GlobalRange
from methods.scalar.uniform import PerDimension
from methods.transform_coding.transform_code import TransformCode
from vecbudget.affine import Affine, affine
from vecbudget.faiss_pq import ABSENT, index_pq


@dataclass(frozen=True, eq=False)
class FaissIndex:
    """An index with all documents in it, by their row.

    Attributes
    ----------
    index : faiss.Index or faiss.IndexBinary
        For inner products of float queries, or for bits.
    binary : bool
        An IndexBinary: queries are `np.packbits(query > 0)`, and it answers with Hamming distances.
    notes : tuple of str
        What its user must know.
    """

    index: Any
    binary: bool
    notes: tuple[str, ...]


def faiss_index(codec: Codec, codes: Codes) -> FaissIndex:
    """Return codes as a FAISS index that ranks as the codec does, up to the rounding of float32 sums.

    Transforms become a `LinearTransform` in front.

    Parameters
    ----------
    codec : fitted Codec
    codes : Codes

    Raises
    ------
    MethodError
        If FAISS has no such code or no such score; says which part it is.
    """
    transforms, inner = _transforms_and_codec(codec)
    d = codec._check_fitted()
    if type(inner) is Sign and inner.scoring == "symmetric":
        if transforms or inner.threshold != "zero" or inner.is_centred:
            raise _refused(codec, "an IndexBinaryFlat takes the signs of queries as they are, without a transform")
        return _binary(inner, codes)
    make = _MAKERS.get(type(inner))
    if make is None:
        raise _refused(codec, f"FAISS has no code like that of {type(inner).__name__}")
    if inner.scoring != "asymmetric":
        raise _refused(codec, f"scoring={inner.scoring} rounds queries, and FAISS scores them as they are")
    alike_long = type(inner) is Sign and not inner.is_centred
    if inner.renormalizes and not alike_long:
        raise _refused(codec, "renormalize=true divides by the decoded lengths; measure renormalize=false, export that")
    index, columns, notes = make(inner, codes)
    before = affine(lambda queries: _transformed(transforms, queries, docs=False), d)
    if before is None:
        names = ", ".join(type(part).__name__ for part in transforms)
        raise _refused(codec, f"what is done to queries ({names}) is no matrix")
    if before.scaled:
        notes += ("scores are larger or smaller than the run's by a factor of each query's own; rankings are the same",)
    if _is_shifted(codec):
        notes += ("all scores of a query are shifted alike, by what was taken from all documents",)
    documents = affine(lambda docs: _transformed(transforms, docs, docs=True), d)
    alike = documents is not None and not documents.scaled and not _has_centre(codec)
    if alike and documents is not None:
        alike = np.array_equal(documents.matrix, before.matrix) and np.array_equal(documents.bias, before.bias)
    if not alike:
        notes += ("for searching only: documents are not transformed as queries are, so add none by FAISS",)
    return FaissIndex(_with_linear_map(index, before, columns), False, notes)


def _transforms_and_codec(codec: Codec) -> tuple[list[Transform], Codec]:
    """Return the transforms of nested chains, in order, and the codec that follows them."""
    transforms: list[Transform] = []
    inner = codec
    while type(inner) in (Chain, AsWritten):
        assert isinstance(inner, Chain)
        # what a chain gives back to all documents is the same for all of them, unless they are renormalised with it
        if inner.scoring != "asymmetric" or inner.renormalizes:
            raise _refused(
                codec, f"its chain has scoring={inner.scoring}, renormalize={str(inner.renormalizes).lower()}"
            )
        transforms += inner.transforms
        inner = inner.codec
    return transforms, inner


def _has_centre(codec: Codec) -> bool:
    """Return whether documents lose a centre, in a chain or in signs, that FAISS would not take from them."""
    if isinstance(codec, Chain):
        return "centre_" in vars(codec) or _has_centre(codec.codec)
    return isinstance(codec, Sign) and codec.is_centred


def _is_shifted(codec: Codec) -> bool:
    """Return whether the codec adds to all scores of a query what its documents have in common."""
    if isinstance(codec, Chain):
        return codec._place is not None or _is_shifted(codec.codec)
    return isinstance(codec, Sign) and codec.is_centred


def _transformed(transforms: list[Transform], vectors: Float32, docs: bool) -> Float32:
    """Return documents or queries after all transforms."""
    for part in transforms:
        vectors = part.transform_docs(vectors) if docs else part.transform_queries(vectors)
    return vectors


def _refused(codec: Codec, reason: str) -> MethodError:
    """Return the error for a codec that FAISS cannot hold, and why."""
    return MethodError(f"{type(codec).__name__} cannot be handed to FAISS: {reason}")


def _with_linear_map(index: Any, before: Affine, columns: Any) -> Any:
    """Return an index that maps vectors linearly, and arranges their columns, before it searches."""
    import faiss

    matrix, bias = before.matrix, before.bias
    if columns is not None:
        absent = columns == ABSENT
        matrix, bias = np.where(absent, 0, matrix[:, columns]), np.where(absent, 0, bias[columns])
    elif before.is_identity:
        return index
    linear = faiss.LinearTransform(matrix.shape[0], matrix.shape[1], bool(bias.any()))
    faiss.copy_array_to_vector(np.ascontiguousarray(matrix.T, dtype=np.float32).ravel(), linear.A)
    if bias.any():
        faiss.copy_array_to_vector(np.ascontiguousarray(bias, dtype=np.float32), linear.b)
    linear.is_trained = True
    linear.set_is_orthonormal()
    return faiss.IndexPreTransform(linear, index)


Exported = tuple[Any, Any, tuple[str, ...]]
"""A FAISS index, the columns that it expects (None: as they are), and notes for its user."""


def _binary(codec: Sign, codes: Codes) -> FaissIndex:
    """Return signs as a binary index, which ranks by Hamming distance."""
    import faiss

    index = faiss.IndexBinaryFlat(8 * codes.array.shape[1])
    index.add(np.ascontiguousarray(codes.array))
    return FaissIndex(index, True, ("queries are np.packbits(query > 0, axis=1); answers are Hamming distances",))


def _faiss_codec(codec: FaissCodec, codes: Codes) -> Exported:
    """Return codes that FAISS made in the index that made them."""
    import faiss as untyped

    faiss: Any = untyped
    index = faiss.deserialize_index(np.ascontiguousarray(codec.index_))
    try:
        index.add_sa_codes(np.ascontiguousarray(codes.array))
    except RuntimeError as error:
        raise _refused(codec, f"FAISS adds no finished codes to '{codec.index_string}'") from error
    if codec.kernel == "fast_scan":
        index = faiss.IndexPQFastScan(index)
    return index, None, ()


def _scalar(codec: Codec, codes: Codes, kind: str, trained: Float32 | None) -> Exported:
    """Return a scalar quantiser of a FAISS type, with its trained numbers, if it has any, and the codes."""
    import faiss

    d = codec._check_fitted()
    index = faiss.IndexScalarQuantizer(d, getattr(faiss.ScalarQuantizer, kind), faiss.METRIC_INNER_PRODUCT)
    if trained is not None:
        faiss.copy_array_to_vector(trained, index.sq.trained)
    index.is_trained = True
    index.add_sa_codes(np.ascontiguousarray(codes.array))
    return index, None, ()


GRIDS = {4: "QT_4bit", 6: "QT_6bit", 8: "QT_8bit"}
"""FAISS's scalar quantisers by bits; it packs as `methods.kernels.packing` does."""


def _per_dimension(codec: PerDimension, codes: Codes) -> Exported:
    """Return codes of a range for each dimension as a scalar quantiser."""
    if codec.bits not in GRIDS:
        raise _refused(codec, f"FAISS has scalar quantisers of 4, 6 and 8 bits, not of {codec.bits}")
    # FAISS decodes to the middles of its cells, so that its range begins half a step lower
    low, span = codec.low_ - codec.step_ / 2, codec.step_ * np.float32(2**codec.bits - 1)
    exported = _scalar(codec, codes, GRIDS[codec.bits], np.concatenate([low, span]).astype(np.float32))
    if codec.rounding != "nearest" or codec.overflow != "clip":
        return *exported[:2], ("for searching only: documents that FAISS adds are rounded to the nearest level",)
    return exported


def _global_range(codec: GlobalRange, codes: Codes) -> Exported:
    """Return codes of one range for all dimensions as a scalar quantiser."""
    bits = codec._bits
    if codec.corrected:
        raise _refused(codec, "its scores have a correction")
    if bits not in GRIDS:
        raise _refused(codec, f"FAISS has scalar quantisers of 4, 6 and 8 bits, not of {bits}")
    d, top = codec._check_fitted(), 2**bits - 1
    low = np.full(d, codec.low_ + codec.step_ * (codec.shift - 0.5))
    trained = np.concatenate([low, np.full(d, codec.step_ * top)]).astype(np.float32)
    exported = _scalar(codec, codes, GRIDS[bits], trained)
    return *exported[:2], ("for searching only: FAISS would round and clip further documents in its own way",)


def _cast(codec: Cast, codes: Codes) -> Exported:
    """Return float codes as FAISS's index of that format."""
    import faiss

    if codec.scale != "none":
        raise _refused(codec, f"scale={codec.scale} multiplies all numbers, and FAISS does not")
    if codec.dtype == "float32":
        index = faiss.IndexFlatIP(codec._check_fitted())
        for start, stop in row_blocks(codes.n, codes.array.shape[1]):
            index.add(codec.decode(codes[start:stop]))
        return index, None, ()
    kinds = {"float16": "QT_fp16", "bfloat16": "QT_bf16"}
    if codec.dtype not in kinds:
        raise _refused(codec, f"FAISS has float32, float16 and bfloat16, not {codec.dtype}")
    return _scalar(codec, codes, kinds[codec.dtype], None)


def _sign(codec: Sign, codes: Codes) -> Exported:
    """Return signs as a product code: eight dimensions a byte, whose 256 centroids are the corners of a cube."""
    import faiss

    d = codec._check_fitted()
    if d % 8:
        raise _refused(codec, f"against float queries it is a product code of whole bytes, and {d} dimensions are not")
    corners = 2 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32) - 1
    own_size = codec.scale == "mean" and not codec.renormalizes
    corners *= np.float32(codec.scale_ if own_size else 1 / np.sqrt(d))
    index = faiss.IndexPQ(d, d // 8, 8, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(np.tile(corners.ravel(), d // 8), index.pq.centroids)
    index.is_trained = True
    index.add_sa_codes(np.ascontiguousarray(codes.array))
    notes = (
        ()
        if codec.threshold == "zero" and not codec.is_centred
        else ("for searching only: FAISS would compare documents with zero",)
    )
    return index, None, notes


def _transform_code(codec: TransformCode, codes: Codes) -> Exported:
    """Return a transform code as a product quantiser."""
    index, columns = index_pq(codec, codes)
    return index, columns, ("all scores of a query are shifted alike, where dimensions without bits are left out",)


_MAKERS: dict[type[Codec], Callable[..., Exported]] = {
    FaissCodec: _faiss_codec,
    PerDimension: _per_dimension,
    GlobalRange: _global_range,
    Cast: _cast,
    Sign: _sign,
    TransformCode: _transform_code,
}
