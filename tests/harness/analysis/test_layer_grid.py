"""A model's depths beside one another: the grid, its table and its heat map."""

import numpy as np

from harness.analysis.layer_grid import MOST_SETTINGS, LayerGrid, layer_grids
from harness.analysis.settings import pages
from harness.report.figures.layers import draw_layers
from harness.report.layers_view import layer_views
from tests.harness.analysis.test_recommend import Records, losing


def grids(records: Records) -> list[LayerGrid]:
    return layer_grids(pages(records.frame()))


def test_depths_stand_beside_one_another() -> None:
    records = Records()
    for model, lost in (("m", 0.0), ("m layers=6", 0.0), ("m layers=12", 0.0), ("m layers=5", 0.2)):
        records.add("float32", 1536, losing(lost), model=model)
    records.add("binary", 48, losing(0.1), model="m layers=6")
    # queries of fewer layers are another encoder, and no depth
    for other in ("m query_layers=5", "other"):
        records.add("float32", 1536, losing(0.5), model=other)
    (found,) = grids(records)
    assert (found.collection, found.model, found.quality) == ("scifact", "m", "ndcg_at_10")
    assert list(found.values.index) == ["all", "12", "6", "5"], "as numbers, not as words"
    assert list(found.values.columns) == ["float32", "binary"] and list(found.nbytes) == [1536, 48]
    whole = losing(0.0).mean()
    expected = [[whole, np.nan], [whole, np.nan], [whole, 0.9 * whole], [0.8 * whole, np.nan]]
    np.testing.assert_allclose(found.values.to_numpy(), expected)


def test_other_changes_of_a_model_are_models_of_their_own() -> None:
    records = Records()
    for model in ("m layers=6", "m layers=5", "m layers=6 backend=onnx", "m layers=5 backend=onnx", "n layers=3"):
        records.add("float32", 1536, losing(0.0), model=model)
    assert [found.model for found in grids(records)] == ["m", "m backend=onnx"]
    assert not grids(Records().add("float32", 1536, losing(0.0), model="m layers=6")), "one depth is no grid"


def test_the_table_and_the_picture_are_of_the_grid() -> None:
    records = Records()
    for depth in (6, 5):
        records.add("float32", 1536, losing(0.1 * (6 - depth)), model=f"m layers={depth}")
    records.add("truncate dim=96", 384, losing(0.3), model="m layers=5")
    (view,) = layer_views(pages(records.frame()))
    text = view.markdown()
    assert "6 layers" in text and "5 layers" in text and "truncate dim=96" in text
    assert view.stem == "layers--scifact--m"
    (found,) = grids(records)
    figure = draw_layers(found)
    axes = figure.axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    whole = losing(0.0).mean()
    assert written == {(0, 0): f"{whole:.3f}", (0, 1): f"{0.9 * whole:.3f}", (1, 1): f"{0.7 * whole:.3f}"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["6", "5"]


def test_of_many_settings_those_of_most_depths_are_shown() -> None:
    records = Records()
    for number in range(MOST_SETTINGS + 3):
        records.add(f"pq m={number + 1}", number + 1, losing(0.1), model="m layers=6")
    records.add("pq m=1", 1, losing(0.1), model="m layers=5")
    (found,) = grids(records)
    assert found.values.shape == (2, MOST_SETTINGS) and found.left_out == 3 and "pq m=1" in found.values
    (view,) = layer_views(pages(records.frame()))
    assert "3 settings more left out" in view.markdown() + " ".join(view.notes)
