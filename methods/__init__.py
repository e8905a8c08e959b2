"""Compression methods. Nothing here imports the harness: arrays in, arrays out (see `methods.base`).

A part has one public name, `methods.SVD` say, by which configurations, records and exported indexes know it, wherever
its module lies. `HOMES` is the list of them; a module is imported when one of its names is asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

HOMES = {
    "Sign": "binary.sign",
    "Thermometer": "binary.thermometer",
    "Chain": "composed.chain",
    "PerBatch": "composed.conventions",
    "Euclidean": "composed.euclidean",
    "NormsApart": "composed.norms_apart",
    "QueryCode": "composed.query_codes",
    "ErrorBound": "composed.rescore",
    "Rescore": "composed.rescore",
    "ShortList": "composed.rescore",
    "ExactAlongFirst": "composed.residual",
    "Residual": "composed.residual",
    "AsWritten": "composed.store_layout",
    "HNSW": "index.graph",
    "Vamana": "index.graph",
    "InvertedLists": "index.inverted_lists",
    "Adder": "learned.adder",
    "Autoencoder": "learned.autoencoder",
    "BEBR": "learned.bebr",
    "LowRankVQ": "learned.codebooks",
    "SimVQ": "learned.codebooks",
    "CSR": "learned.csr",
    "OrthoHash": "learned.hash_heads",
    "SimilarityCalibration": "learned.hash_heads",
    "MatryoshkaAdaptor": "learned.matryoshka_adaptor",
    "QINCo": "learned.qinco",
    "RetrievalPQ": "learned.retrieval_pq",
    "Tldr": "learned.tldr",
    "LearnedTokens": "learned.token_heads",
    "MeanOfTokens": "multivector.muvera",
    "Muvera": "multivector.muvera",
    "PerToken": "multivector.per_token",
    "TokenPooling": "multivector.pooling",
    "TokenPruning": "multivector.pooling",
    "ResidualTokens": "multivector.residual_codec",
    "AnisotropicPQ": "product.anisotropic",
    "FaissCodec": "product.faiss_codec",
    "UnitCentroids": "product.faiss_codec",
    "ASH": "rotated.ash",
    "BoundedRaBitQ": "rotated.error_bound",
    "FaissRaBitQ": "rotated.faiss_rabitq",
    "QJL": "rotated.qjl",
    "SAQ": "rotated.saq",
    "ScaledLevels": "rotated.scaled_levels",
    "TurboQuantPlus": "rotated.turboquant_plus",
    "AsGiven": "scalar.as_given",
    "Cast": "scalar.cast",
    "VoyagerE4M3": "scalar.e4m3_voyager",
    "GlobalRange": "scalar.global_range",
    "LloydMax": "scalar.lloyd",
    "LVQ": "scalar.lvq",
    "MicroScaled": "scalar.microscaling",
    "NVQ": "scalar.nvq",
    "OSQ": "scalar.osq",
    "PooledQuantiles": "scalar.pooled_quantiles",
    "ChunkQuantiles": "scalar.ranges",
    "Extremes": "scalar.ranges",
    "Fixed": "scalar.ranges",
    "ScoreCorrelation": "scalar.ranges",
    "TailCut": "scalar.ranges",
    "PerDimension": "scalar.uniform",
    "PerVector": "scalar.uniform",
    "BlockMax": "sparse.block_max",
    "DotVByte": "sparse.ids",
    "EliasDelta": "sparse.ids",
    "EliasFano": "sparse.ids",
    "FixedWidth": "sparse.ids",
    "PackedBlocks": "sparse.ids",
    "RangeCoded": "sparse.ids",
    "Rice": "sparse.ids",
    "VariableByte": "sparse.ids",
    "MassShare": "sparse.pruning",
    "PostingShare": "sparse.pruning",
    "StrongestTerms": "sparse.pruning",
    "Threshold": "sparse.pruning",
    "BitCipher": "sparse.signatures",
    "HashedWords": "sparse.signatures",
    "TermSignature": "sparse.signatures",
    "LeastError": "sparse.term_weights",
    "TermWeights": "sparse.term_weights",
    "FixedSteps": "sparse.weights",
    "Floats": "sparse.weights",
    "Levels": "sparse.weights",
    "LogLevels": "sparse.weights",
    "Presence": "sparse.weights",
    "SignificantBits": "sparse.weights",
    "HashNetwork": "tables.hash_network",
    "MagnitudeGroups": "tables.magnitude_groups",
    "MultiHash": "tables.multi_hash",
    "Pruned": "tables.sparse",
    "Sparse": "tables.sparse",
    "Deduplicate": "tables.table",
    "QuotientRemainder": "tables.table",
    "Robe": "tables.table",
    "TensorTrain": "tables.table",
    "EntropyCoded": "transform_coding.entropy_coded",
    "LatticeCoded": "transform_coding.lattice_coded",
    "RefinedTransformCode": "transform_coding.refined",
    "TransformCode": "transform_coding.transform_code",
    "TrellisCoded": "transform_coding.trellis",
    "ClassHeads": "transforms.class_heads",
    "Hyperplanes": "transforms.hashing",
    "ITQ": "transforms.hashing",
    "KernelPCA": "transforms.kernel_pca",
    "LeanVec": "transforms.leanvec",
    "RandomProjection": "transforms.linear",
    "SVD": "transforms.linear",
    "Truncate": "transforms.linear",
    "OPQ": "transforms.opq",
    "Pad": "transforms.padding",
    "QueryMap": "transforms.query_map",
    "Relative": "transforms.relative",
    "RandomRotation": "transforms.rotation",
    "ScoreAware": "transforms.score_aware",
    "UMAP": "transforms.umap",
    "Whiten": "transforms.whitening",
}
"""The public name of each part, and the module of this package that defines it."""


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'methods' has no attribute '{name}'")
    return getattr(importlib.import_module(f"methods.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})


def public_name(kind: type) -> str:
    """Return a class's name in records and configurations: `methods.SVD`, or the module and name of a user's class."""
    home = HOMES.get(kind.__qualname__)
    if home is not None and kind.__module__ == f"methods.{home}":
        return f"methods.{kind.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__}"
