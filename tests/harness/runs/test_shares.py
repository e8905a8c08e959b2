"""Parameters that are shares of the dimensions: the numbers that they were at 384, and settings that fit elsewhere."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from harness.cli import main
from harness.report.write import write_report
from harness.runs.catalogue import members, method_card
from harness.runs.frame import load_runs
from harness.runs.record import params_of
from harness.runs.shares import EQUAL_PARTS, FARTHEST, ShareError, is_share, number_of, with_numbers
from harness.runs.store import Store
from tests.conftest import ROOT, clustered_vectors

WIDTH = 384
"""Dimensions of the model of the reference results."""


def jobs_of(experiment: str) -> list[list[str]]:
    """The overrides of each configuration of an experiment's list."""
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=[f"experiment={experiment}"], return_hydra_config=True)
        context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks())
        sweeper = Plugins.instance().instantiate_sweeper(
            hydra_context=context, task_function=lambda _: None, config=cfg
        )
        (jobs,) = sweeper.split_arguments([], None)
    return [[text for text in job if text.startswith("method")] for job in jobs]


def resolved(job: list[str], d: int) -> tuple[str, str]:
    """Method and parameters of a configuration, as tables have them, on vectors of d dimensions."""
    name = next(text.removeprefix("method=") for text in job if text.startswith("method="))
    node = OmegaConf.create(members("method")[name].read_text(encoding="utf-8"))
    cfg = OmegaConf.create({"seed": 0, "method": node})
    for text in job:
        key, _, value = text.partition("=")
        if key.startswith("method."):
            OmegaConf.update(cfg, key, value)
    return name, params_of(with_numbers(cfg, job, lambda: d, scaled=True)[1])


@pytest.mark.parametrize("experiment", ["quick", "full", "databases"])
def test_at_384_dimensions_settings_are_those_of_the_reference_results(experiment: str) -> None:
    with (ROOT / "results" / "reference" / experiment / "runs.csv").open(encoding="utf-8") as file:
        recorded = {(row["method"], row["params"]) for row in csv.DictReader(file)}
    jobs = jobs_of(experiment)
    if experiment == "databases":
        # of several presets with the same parameters, one has the record
        jobs = [job for job in jobs if any(is_share(text.partition("=")[2]) for text in job)]
    listed = {resolved(job, WIDTH) for job in jobs}
    assert len(listed) == len(jobs) and listed <= recorded
    if experiment == "quick":
        assert listed == recorded


@pytest.mark.parametrize("name", list(members("method")))
def test_a_default_is_the_share_that_its_yaml_says(name: str) -> None:
    card = method_card(members("method")[name])
    for key, share in (card.get("shares") or {}).items():
        assert number_of(share, WIDTH, key) == card["parameters"][key]


@given(d=st.integers(1, 3000), over=st.integers(1, 64), key=st.sampled_from(["dim", "nbytes", "m", "num_sub_vectors"]))
def test_a_share_is_within_it_and_equal_parts_are_equal(d: int, over: int, key: str) -> None:
    try:
        number = number_of(f"d/{over}", d, key)
    except ShareError:
        assert d < over
        return
    near = any(d % n == 0 and 1 / FARTHEST <= n * over / d <= FARTHEST for n in range(1, d + 1))
    if key in EQUAL_PARTS and near:
        assert d % number == 0 and 1 / FARTHEST - 1e-9 <= number * over / d <= FARTHEST + 1e-9
    else:
        assert number == d // over


@pytest.mark.parametrize(
    ("share", "d", "key", "number"),
    [
        ("d", 100, "dim", 100),
        ("d*3/4", 100, "dim", 75),
        ("d/4-16", 384, "dim", 80),
        ("d/8+8", 100, "nbytes", 20),
        ("d/8", 100, "m", 10),
        ("d/8", 101, "m", 12),
        ("d/4 below 768, d/6 below 2048, d/8", 768, "segments", 128),
        ("d/4 below 768, d/6 below 2048, d/8", 4096, "segments", 512),
        ("2 below 900, 1", 1024, "bits", 1),
    ],
)
def test_shares_in_numbers(share: str, d: int, key: str, number: int) -> None:
    assert number_of(share, d, key) == number


def collection(tmp_path: Path, n: int, d: int) -> list[str]:
    np.save(tmp_path / "docs.npy", clustered_vectors(n, d))
    np.save(tmp_path / "queries.npy", clustered_vectors(5, d, seed=1))
    named = [f"dataset.{part}={tmp_path / part}.npy" for part in ("docs", "queries")]
    return ["dataset=vectors", *named, f"results_dir={tmp_path / 'results'}"]


@pytest.mark.parametrize("d", [100, pytest.param(768, marks=pytest.mark.slow)])
def test_every_quick_setting_works_on_other_widths(tmp_path: Path, d: int) -> None:
    assert main(["sweep", "experiment=quick", *collection(tmp_path, 300, d)]) == 0
    runs = load_runs(tmp_path / "results")
    assert (runs["status"] == "ok").all() and len(runs) == 26
    assert f"dim={d // 2}" in runs.loc[runs["method"] == "svd192_int8", "params"].tolist()


@pytest.mark.usefixtures("empty_figures")
def test_what_an_experiment_lists_and_the_vectors_cannot_carry_is_skipped(tmp_path: Path) -> None:
    given = collection(tmp_path, 60, 100)
    assert main(["sweep", "experiment=quick", *given]) == 0, "a skipped setting is no failure"
    runs = load_runs(tmp_path / "results")
    skipped = runs[runs["status"] == "skipped"]
    assert set(skipped["method"]) == {"pq", "opq"} and len(runs) == 26
    assert skipped["error"].str.contains("method.bits=8 gives each codebook 256 centroids, and 60 documents").any()
    assert skipped["error"].str.contains("60 documents").all()
    pages = write_report(runs, tmp_path / "report", per_query=Store(tmp_path / "results").per_query)
    text = next(path for path in pages if path.suffix == ".md" and "docs" in path.name).read_text(encoding="utf-8")
    assert "## Skipped, as the vectors cannot carry them: 4" in text and "## Failed" not in text


def test_what_a_person_typed_fails(tmp_path: Path) -> None:
    given = collection(tmp_path, 60, 100)
    assert main(["sweep", "experiment=quick", "method=pq,int8", *given]) == 1
    assert sorted(load_runs(tmp_path / "results")["status"]) == ["failed", "ok"]
    assert main(["run", "method=pq", "method.bits=4", "method.m=d/8", *given]) == 0
    assert "m=10" in " ".join(load_runs(tmp_path / "results")["params"])
