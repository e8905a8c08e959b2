"""Models whose weights a package carries: each is another model, of the package's folder."""

from __future__ import annotations

from harness.data.models.encoder import Identity, Role
from harness.data.models.saved_model import SavedModel


class Packaged:
    """What a packaged model says of itself, which is what the model of the package's folder says."""

    def identity(self, role: Role, task: str | None) -> Identity:
        """Return what determines the vectors."""
        return self._packaged.identity(role, task)

    @property
    def model_bytes(self) -> int:
        """Bytes of the files as they would be shipped."""
        return self._packaged.model_bytes

    @property
    def ran_on(self) -> str:
        """What it ran on."""
        return self._packaged.ran_on

    @property
    def _packaged(self) -> SavedModel:
        """The model of the package's folder."""
        raise NotImplementedError
