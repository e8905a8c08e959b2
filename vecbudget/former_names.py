"""What parts were called before: the one table by which old records and exported indexes stay readable.

Until version 0.1 configurations named a class by the module that it lay in. Today a method's part is `methods.SVD`, a
model `harness.data.models.Minilm` and a dataset `harness.data.datasets.Folder`, wherever their modules lie; whoever
renames one of these adds a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

TARGET = "_target_"
"""The key under which a configuration names a class."""

FORMER = {
    "methods.anisotropic.AnisotropicPQ": "methods.AnisotropicPQ",
    "methods.as_written.AsWritten": "methods.AsWritten",
    "methods.ash.ASH": "methods.ASH",
    "methods.binary.Sign": "methods.Sign",
    "methods.cast.Cast": "methods.Cast",
    "methods.chain.Chain": "methods.Chain",
    "methods.conventions.PerBatch": "methods.PerBatch",
    "methods.entropy_coded.EntropyCoded": "methods.EntropyCoded",
    "methods.error_bound.BoundedRaBitQ": "methods.BoundedRaBitQ",
    "methods.euclidean.Euclidean": "methods.Euclidean",
    "methods.faiss_codec.FaissCodec": "methods.FaissCodec",
    "methods.faiss_codec.UnitCentroids": "methods.UnitCentroids",
    "methods.faiss_rabitq.FaissRaBitQ": "methods.FaissRaBitQ",
    "methods.global_range.GlobalRange": "methods.GlobalRange",
    "methods.hash_network.HashNetwork": "methods.HashNetwork",
    "methods.hashing.Hyperplanes": "methods.Hyperplanes",
    "methods.hashing.ITQ": "methods.ITQ",
    "methods.kernel_pca.KernelPCA": "methods.KernelPCA",
    "methods.lattice_coded.LatticeCoded": "methods.LatticeCoded",
    "methods.leanvec.LeanVec": "methods.LeanVec",
    "methods.learned.adder.Adder": "methods.Adder",
    "methods.learned.autoencoder.Autoencoder": "methods.Autoencoder",
    "methods.learned.bebr.BEBR": "methods.BEBR",
    "methods.learned.codebooks.LowRankVQ": "methods.LowRankVQ",
    "methods.learned.codebooks.SimVQ": "methods.SimVQ",
    "methods.learned.csr.CSR": "methods.CSR",
    "methods.learned.hash_heads.OrthoHash": "methods.OrthoHash",
    "methods.learned.hash_heads.SimilarityCalibration": "methods.SimilarityCalibration",
    "methods.learned.matryoshka_adaptor.MatryoshkaAdaptor": "methods.MatryoshkaAdaptor",
    "methods.learned.qinco.QINCo": "methods.QINCo",
    "methods.learned.retrieval_pq.RetrievalPQ": "methods.RetrievalPQ",
    "methods.learned.tldr.Tldr": "methods.Tldr",
    "methods.linear.RandomProjection": "methods.RandomProjection",
    "methods.linear.SVD": "methods.SVD",
    "methods.linear.Truncate": "methods.Truncate",
    "methods.lloyd.LloydMax": "methods.LloydMax",
    "methods.lvq.LVQ": "methods.LVQ",
    "methods.magnitude_groups.MagnitudeGroups": "methods.MagnitudeGroups",
    "methods.microscaling.MicroScaled": "methods.MicroScaled",
    "methods.neighbours.UMAP": "methods.UMAP",
    "methods.nvq.NVQ": "methods.NVQ",
    "methods.opq.OPQ": "methods.OPQ",
    "methods.osq.OSQ": "methods.OSQ",
    "methods.padding.Pad": "methods.Pad",
    "methods.qjl.QJL": "methods.QJL",
    "methods.query_codes.QueryCode": "methods.QueryCode",
    "methods.query_map.QueryMap": "methods.QueryMap",
    "methods.ranges.ChunkQuantiles": "methods.ChunkQuantiles",
    "methods.ranges.Extremes": "methods.Extremes",
    "methods.ranges.Fixed": "methods.Fixed",
    "methods.ranges.ScoreCorrelation": "methods.ScoreCorrelation",
    "methods.ranges.TailCut": "methods.TailCut",
    "methods.relative.Relative": "methods.Relative",
    "methods.rescore.ErrorBound": "methods.ErrorBound",
    "methods.rescore.Rescore": "methods.Rescore",
    "methods.rescore.ShortList": "methods.ShortList",
    "methods.residual.ExactAlongFirst": "methods.ExactAlongFirst",
    "methods.residual.Residual": "methods.Residual",
    "methods.rotation.RandomRotation": "methods.RandomRotation",
    "methods.saq.SAQ": "methods.SAQ",
    "methods.scalar.PerDimension": "methods.PerDimension",
    "methods.scalar.PerVector": "methods.PerVector",
    "methods.scaled_levels.ScaledLevels": "methods.ScaledLevels",
    "methods.score_aware.ScoreAware": "methods.ScoreAware",
    "methods.sparse.Pruned": "methods.Pruned",
    "methods.sparse.Sparse": "methods.Sparse",
    "methods.table.Deduplicate": "methods.Deduplicate",
    "methods.table.QuotientRemainder": "methods.QuotientRemainder",
    "methods.table.Robe": "methods.Robe",
    "methods.table.TensorTrain": "methods.TensorTrain",
    "methods.thermometer.Thermometer": "methods.Thermometer",
    "methods.transform_coding.TransformCode": "methods.TransformCode",
    "methods.trellis.TrellisCoded": "methods.TrellisCoded",
    "methods.turboquant_plus.TurboQuantPlus": "methods.TurboQuantPlus",
    "methods.voyager_e4m3.VoyagerE4M3": "methods.VoyagerE4M3",
    "methods.whitening.Whiten": "methods.Whiten",
    "harness.encode.Minilm": "harness.data.models.Minilm",
    "harness.encode.MtebModel": "harness.data.models.MtebModel",
    "harness.encode.SentenceTransformerModel": "harness.data.models.SentenceTransformerModel",
    "harness.encode.VectorModel": "harness.data.models.VectorModel",
    "harness.datasets.folder.Folder": "harness.data.datasets.Folder",
    "harness.datasets.mteb.MtebTask": "harness.data.datasets.MtebTask",
    "harness.datasets.stdlib.StandardLibrary": "harness.data.datasets.StandardLibrary",
    "harness.datasets.vectors.VectorFiles": "harness.data.datasets.VectorFiles",
}
"""The public name of each part by a name that it had before."""

_HASHED = {now: before for before, now in reversed(FORMER.items())}


def current_names(settings: Any) -> Any:
    """Return a configuration with today's name in the place of each former one; the rest as it is."""
    return _renamed(settings, lambda name: FORMER.get(name, name))


def hashed_names(settings: Any) -> Any:
    """Return a configuration with the names that run ids are made of: the first that a part ever had.

    So an id stays what it was when a part is renamed, and records of all releases can be merged. A part that had only
    one name goes by that.
    """
    return _renamed(current_names(settings), lambda name: _HASHED.get(name, name))


def _renamed(settings: Any, rename: Callable[[str], str]) -> Any:
    """Return a configuration with every part's name, however deep, replaced by `rename` of it."""
    if isinstance(settings, Mapping):
        return {
            key: rename(value) if key == TARGET and isinstance(value, str) else _renamed(value, rename)
            for key, value in settings.items()
        }
    if isinstance(settings, list | tuple):
        return [_renamed(item, rename) for item in settings]
    return settings
