import faiss
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.kernels import fast_scan


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 120), n=st.integers(1, 100), seed=st.integers(0, 10**6))
def test_codes_lie_as_faiss_lays_them(m: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    empty = faiss.IndexPQ(m, m, 4, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(rng.standard_normal(16 * m).astype(np.float32), empty.pq.centroids)
    empty.is_trained = True
    codes = rng.integers(0, 256, (n, (m + 1) // 2)).astype(np.uint8)
    if m % 2:
        # the half of the last byte that no sub-quantiser has
        codes[:, -1] &= 15
    filled = faiss.clone_index(empty)
    filled.add_sa_codes(codes)
    expected, made = faiss.IndexPQFastScan(filled), fast_scan.index_of(empty, codes)
    np.testing.assert_array_equal(faiss.vector_to_array(made.codes), faiss.vector_to_array(expected.codes))
    queries = rng.standard_normal((3, m)).astype(np.float32)
    for ours, theirs in zip(made.search(queries, n), expected.search(queries, n), strict=True):
        np.testing.assert_array_equal(ours, theirs)
