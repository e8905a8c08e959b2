from pathlib import Path

import numpy as np
import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real collections that lie beside a developer's checkout; tests that use them skip where they are absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real collections (../shared/data) are not here")
    return SHARED_DATA


def clustered_vectors(n: int, d: int, seed: int = 0, clusters: int = 20) -> np.ndarray:
    """Unit vectors with the two properties of real embeddings that matter: clusters, and a decaying spectrum."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(12345)
    spectrum = np.exp(-np.arange(d) / (d / 3))
    centres = shared.standard_normal((clusters, d)) * spectrum + 0.3 * spectrum
    rotation = np.linalg.qr(shared.standard_normal((d, d)))[0]
    vectors = (centres[rng.integers(clusters, size=n)] + 0.8 * rng.standard_normal((n, d)) * spectrum) @ rotation
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
