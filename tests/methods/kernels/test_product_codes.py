import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.kernels import k_means, product_codes


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 150), st.booleans(), st.integers(0, 10**6))
def test_bytes_and_numbers_are_the_references(widths: list[int], n: int, coarse: bool, seed: int) -> None:
    """`coarse` numbers are small integers: sums are exact, and many centroids are equally near."""
    rng = np.random.default_rng(seed)
    d = sum(widths) + 2
    groups = np.split(rng.permutation(d)[: sum(widths)], np.cumsum(widths)[:-1])

    def drawn(*shape: int) -> np.ndarray:
        return (rng.integers(-2, 3, shape) if coarse else rng.standard_normal(shape)).astype(np.float32)

    tables, docs = [drawn(256, width) for width in widths], drawn(n, d)
    layout = product_codes.layout(groups, np.concatenate([table.ravel() for table in tables]))
    packed = k_means.codes(docs, tables, groups)
    expected = [k_means.reference_nearest(docs[:, dims], table) for dims, table in zip(groups, tables, strict=True)]
    np.testing.assert_array_equal(packed, np.column_stack(expected))
    decoded, by_column = np.zeros((2, n, d), dtype=np.float32)
    product_codes.decode(packed, layout, decoded)
    for byte, (dims, table) in enumerate(zip(groups, tables, strict=True)):
        by_column[:, dims] = table[packed[:, byte]]
    np.testing.assert_array_equal(decoded, by_column)
