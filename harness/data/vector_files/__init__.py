"""Files of vectors, whoever wrote them: one reader a kind, and one way to read many files as one matrix."""

from harness.data.vector_files.read import read_vectors
from harness.data.vector_files.source import StoredVectors, VectorSource

__all__ = ["StoredVectors", "VectorSource", "read_vectors"]
