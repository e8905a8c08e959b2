"""Retrieval collections: one `Dataset` type, whatever they were read from.

The loaders are the members of the `dataset` config group, a module each. A loader is a dataclass of options with one
method, `load() -> Dataset`.
"""

from harness.data.datasets.dataset import Dataset, Loader
from harness.data.datasets.folder import Folder
from harness.data.datasets.limit import LimitStyle
from harness.data.datasets.mteb import MtebTask
from harness.data.datasets.stdlib import StandardLibrary
from harness.data.datasets.vectors import VectorFiles

__all__ = ["Dataset", "Folder", "LimitStyle", "Loader", "MtebTask", "StandardLibrary", "VectorFiles"]
