import numpy as np

from methods.scalar.e4m3_voyager import MAGNITUDES, VoyagerE4M3, round_magnitudes


def test_by_hand() -> None:
    given = [0, 0.4, 0.6, 7.4, 7.5, 7.9, 8, 8.4, 8.5, 9.2, 11.4, 11.5, 15.9, 16, 16.9, 17.1, 31.4, 33, 1024, 9000]
    became = [0, 0, 1, 7, 16, 16, 7, 7, 16, 7, 7, 16, 16, 16, 16, 18, 32, 32, 1024, 3840]
    assert round_magnitudes(np.array(given, dtype=float)).tolist() == became
    assert np.isin(became, MAGNITUDES).all()


def test_codes_decode_to_what_was_rounded() -> None:
    docs = np.random.default_rng(0).normal(0, 0.05, (200, 64)).astype(np.float32)
    codec = VoyagerE4M3().fit(docs)
    codes = codec.encode(docs)
    assert codes.nbytes == docs.size
    expected = np.sign(docs) * round_magnitudes(np.abs(docs.astype(np.float64)) * 1024) / 1024
    assert np.array_equal(codec.decode(codes), expected.astype(np.float32))


def test_every_magnitude_has_a_code() -> None:
    assert len(MAGNITUDES) <= 128 and (np.diff(MAGNITUDES) > 0).all()
    values = (np.concatenate([MAGNITUDES, -MAGNITUDES]) / 1024).astype(np.float32)[None]
    # 7 / 1024 aside from those that are lost, what can be stored is stored as it is
    assert np.array_equal(VoyagerE4M3().fit(values).decode(VoyagerE4M3().fit(values).encode(values)), values)
