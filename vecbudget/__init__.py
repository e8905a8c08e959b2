"""What an exported index is used with: `CompressedIndex.load(folder).search(vectors, k)`.

Imports NumPy, safetensors and the methods, and neither torch nor Hydra nor pandas.
"""

from vecbudget.index import CompressedIndex, IndexFileError

__all__ = ["CompressedIndex", "IndexFileError"]
