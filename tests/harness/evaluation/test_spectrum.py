import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.analysis.settings import Page, pages
from harness.evaluation import spectrum_record
from harness.evaluation.rate_distortion import distortion, rate, water_level
from harness.evaluation.spectrum_record import Steps, as_record
from harness.report.figures import labels
from harness.report.figures.spectrum import METHODS, SIZES, Spectra, draw_spectra, spectra
from harness.report.write import write_report
from harness.runs.record import EMPTY, Record
from tests.harness.report.test_write import frame_of, run

UNTIMED = settings(deadline=None)
D = 384
POWER = np.exp(-np.arange(D) / 60) + 1e-4

# --- what a record holds


@UNTIMED
@given(arrays(np.float64, st.integers(1, 5000), elements=st.floats(0, 8)))
def test_means_keep_the_sum_and_the_number_of_axes(values: np.ndarray) -> None:
    steps = Steps.means(values)
    assert steps.axes.sum() == len(values) and (steps.axes > 0).all()
    assert len(steps.axes) <= spectrum_record.ALONE + spectrum_record.GROUPS
    assert steps.each.shape == values.shape
    assert steps.each.sum() == pytest.approx(values.sum())
    alone = min(spectrum_record.ALONE, len(values))
    assert steps.each[:alone].tolist() == values[:alone].tolist()


@UNTIMED
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 16)), min_size=1, max_size=100))
def test_runs_are_exact_until_there_are_too_many(parts: list[tuple[int, int]]) -> None:
    values = np.repeat([bits / 2 for _, bits in parts], [count for count, _ in parts])
    assert np.array_equal(Steps.runs(values).each, values)
    restless = np.arange(5000) % 2
    assert len(Steps.runs(restless).axes) <= spectrum_record.MOST_RUNS
    assert Steps.runs(restless).each.sum() == pytest.approx(2500)


@pytest.mark.parametrize("dim", [1, 8, 384, 4096])
def test_a_record_is_small_and_holds_shares_of_the_power(dim: int) -> None:
    eigenvalues = 7.0 * np.exp(-np.arange(dim)[::-1] / dim)
    bits = np.repeat([4.0, 1.5, 0.0], [dim // 4, dim // 2, dim - dim // 4 - dim // 2])
    record = as_record(eigenvalues, bits)
    assert len(json.dumps(record, indent=1, allow_nan=False)) < 4000
    power, spent = Steps.read(record["power"]), Steps.read(record["bits"])
    assert power.each.sum() == pytest.approx(1, rel=1e-3)
    assert (np.diff(power.each) <= 0).all(), "the strongest axis comes first, whatever the order given"
    assert np.array_equal(spent.each, bits)
    assert as_record(eigenvalues, None)["bits"] is None


def test_vectors_without_power_are_no_error() -> None:
    assert as_record(np.array([-1e-20, 0.0]), None)["power"]["values"] == [0.0, 0.0]


@pytest.mark.parametrize("bits", [0.5, 10.0, 200.0, 3000.0])
def test_the_bits_above_the_water_level_are_the_budget(bits: float) -> None:
    level = water_level(POWER, bits)
    assert np.maximum(np.log2(POWER / level) / 2, 0).sum() == pytest.approx(bits)
    assert np.minimum(POWER, level).sum() == pytest.approx(distortion(POWER, bits))
    assert rate(POWER, distortion(POWER, bits)) == pytest.approx(bits)
    assert water_level(np.zeros(3), bits) == 0.0


# --- the figure

ALLOCATIONS = {
    "float32": (1536, None),
    "int8": (384, None),
    "svd_int8": (48, [(48, 8), (336, 0)]),
    "svd_int4": (48, [(96, 4), (288, 0)]),
    "flat": (48, [(384, 1)]),
    "falling": (48, [(32, 5), (64, 3), (32, 1), (256, 0)]),
    "steep": (48, [(16, 8), (64, 4), (304, 0)]),
    "nearly_falling": (48, [(31, 5), (1, 4), (64, 3), (33, 1), (255, 0)]),
    "halves": (48, [(256, 1.5), (128, 0)]),
    "with_a_factor": (50, [(384, 1)]),
    "half_size": (24, [(64, 3), (320, 0)]),
    "odd_size": (57, [(114, 4), (270, 0)]),
}


def page_and_records() -> tuple[Page, Callable[[str], Record]]:
    rows = [
        run(
            run_id=name,
            method=name,
            code_bytes_per_vector=float(size),
            ndcg_at_10=0.6 - 0.01 * place,
            retention=0.99 - 0.01 * place,
        )
        for place, (name, (size, _)) in enumerate(ALLOCATIONS.items())
    ]
    known = {}
    frame = frame_of(*rows)
    for run_id, name in zip(frame["run_id"], frame["method"], strict=True):
        parts = ALLOCATIONS[name][1]
        bits = None if parts is None else np.repeat([own for _, own in parts], [count for count, _ in parts])
        known[run_id] = replace(EMPTY, spectrum=as_record(POWER, bits))
    (page,) = pages(frame)
    return page, known.__getitem__


def shown() -> Spectra:
    found = spectra(*page_and_records())
    assert found is not None
    return found


def test_sizes_are_those_with_the_most_methods_and_methods_those_that_differ_most() -> None:
    found = shown()
    assert found.sizes == [48, 24] and len(found.sizes) <= SIZES
    assert len(found.methods) == METHODS
    assert "svd_int8" in found.methods, "the best"
    assert not {"float32", "int8", "odd_size"} & set(found.methods)
    assert len({"falling", "nearly_falling"} & set(found.methods)) == 1, "the other one says nothing new"
    assert len({"flat", "with_a_factor"} & set(found.methods)) == 1
    assert found.power.each.sum() == pytest.approx(1, rel=1e-3) and found.dim == D


def test_the_best_setting_of_a_method_is_shown() -> None:
    rows = [
        run(run_id=f"{n}", method="m", params=f"n={n}", code_bytes_per_vector=48.0, retention=share)
        for n, share in ((0, 0.7), (1, 0.9), (2, 0.8))
    ]
    frame = frame_of(*rows)
    number = dict(zip(frame["run_id"], frame["params"], strict=True))
    (page,) = pages(frame)

    def told(run_id: str) -> Record:
        return replace(EMPTY, spectrum=as_record(POWER, np.full(D, float(number[run_id][-1]))))

    found = spectra(page, told)
    assert found is not None
    assert [own.bits.values.tolist() for own in found.allocations] == [[1.0]]


def test_curves_are_the_bits_on_record_and_the_lines_the_water_levels() -> None:
    found = shown()
    figure = draw_spectra(found)
    top, *panels = figure.axes
    assert [panel.get_title("right") for panel in panels] == ["48 bytes", "24 bytes"]
    levels = [float(np.asarray(line.get_ydata())[0]) for line in top.lines[1:]]
    assert levels == pytest.approx([water_level(found.power.each, 8 * size) for size in (48, 24)])
    drawn = np.asarray(top.lines[0].get_ydata())
    assert drawn == pytest.approx(found.power.values)
    of_48 = [own for own in found.allocations if own.size == 48]
    steps = [patch for patch in panels[0].patches if hasattr(patch, "get_data")]
    assert len(steps) == len(of_48)
    for own, patch in zip(sorted(of_48, key=lambda own: own.method), steps, strict=True):
        values, edges, _ = patch.get_data()
        assert np.nan_to_num(values).tolist() == own.bits.values.tolist()
        assert edges.tolist() == own.bits.edges.tolist()
    colours = {tuple(patch.get_edgecolor()) for patch in steps}
    assert len(colours) == len(steps)


@pytest.mark.parametrize("factor", [1.0, 1e-4])
def test_names_of_levels_touch_neither_each_other_nor_the_spectrum(factor: float) -> None:
    found = shown()
    # levels that nearly coincide: all but a few axes are empty
    power = Steps.means(np.where(np.arange(D) < 200, found.power.each, factor * found.power.each))
    figure = draw_spectra(Spectra(found.title, found.collection, power, found.allocations))
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    top = figure.axes[0]
    boxes = np.array([text.get_window_extent(renderer).extents for text in top.texts])
    assert len(boxes) == 2
    assert not labels.overlaps(boxes[:1], boxes[1:]).any()
    points = top.transData.transform(np.column_stack([np.asarray(part) for part in top.lines[0].get_data()]))
    points = points[np.isfinite(points).all(axis=1)]
    assert not labels.crosses(np.hstack([points[:-1], points[1:]]), boxes).any()


def test_a_spectrum_without_allocations_is_drawn_alone() -> None:
    frame = frame_of(run(method="int8", code_bytes_per_vector=384.0))
    (page,) = pages(frame)
    found = spectra(page, lambda _: replace(EMPTY, spectrum=as_record(POWER, None)))
    assert found is not None and found.sizes == []
    assert len(draw_spectra(found).axes) == 1


@pytest.mark.usefixtures("empty_figures")
def test_older_records_have_no_figure_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = frame_of(run(), run(method="int8", code_bytes_per_vector=384.0))
    written = {path.name for path in write_report(frame, tmp_path, records=lambda _: EMPTY, site=False)}
    assert not any("spectrum" in name for name in written) and "summary.md" in written
    assert "no figure of the spectrum" in caplog.text and "scifact · minilm" in caplog.text
    caplog.clear()
    known = replace(EMPTY, spectrum=as_record(POWER, None))
    written = {path.name for path in write_report(frame, tmp_path, records=lambda _: known, site=False)}
    assert {"scifact--minilm-spectrum.png", "scifact--minilm-spectrum.svg"} <= written
    assert "](scifact--minilm-spectrum.png)" in (tmp_path / "scifact--minilm.md").read_text(encoding="utf-8")
    assert "no figure of the spectrum" not in caplog.text
