"""Retrieval collections: one `Dataset` type, whatever they were read from.

The loaders are the members of the `dataset` config group: `folder`, `mteb`, `stdlib` and `vectors`, a module each. A
loader is a dataclass of options with one method, `load() -> Dataset`.
"""

from harness.datasets.dataset import Dataset, Loader

__all__ = ["Dataset", "Loader"]
