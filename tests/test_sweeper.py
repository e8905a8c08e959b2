import pytest
from hydra import compose, initialize_config_module
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext

from hydra_plugins.vecbudget_sweeper import is_sound, without_idle_seed


def test_a_seed_that_nothing_reads_makes_no_further_run() -> None:
    assert without_idle_seed(["method=int8", "method.bits=4", "seed=2"]) == ["method=int8", "method.bits=4"]
    assert without_idle_seed(["method=pq", "seed=2"]) == ["method=pq", "seed=2"]
    assert without_idle_seed(["method=of_somebody_else", "seed=2"]) == ["method=of_somebody_else", "seed=2"]
    assert without_idle_seed(["seed=2"]) == ["seed=2"]


@pytest.mark.parametrize(
    "job, sound",
    [
        (["method=int8", "method.bits=4", "seed=1", "results_dir=r"], True),
        (["dataset=folder", "dataset.path=x", "method=svd", "method.dim=8"], True),
        (["experiment=databases", "method=int8"], True),
        (["experiment=of_somebody_else", "method=int8"], False),
        (["method=int88"], False),
        (["method=int8", "method.bitts=4"], False),
        (["method=int8", "method.codec.bits=4"], False),
        (["method.bits=4"], False),
        (["sed=1"], False),
        (["+method.extra=1", "method=int8"], False),
        (["dataset@fit_dataset=folder"], False),
    ],
)
def test_only_what_the_yamls_vouch_for_is_not_composed(job: list[str], sound: bool) -> None:
    assert is_sound(job) is sound


def test_the_full_experiment_is_a_table_of_many_sound_settings() -> None:
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("config", overrides=["experiment=full"], return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        sweeper = Plugins.instance().instantiate_sweeper(
            hydra_context=context, task_function=lambda _: None, config=cfg
        )
        (jobs,) = sweeper.split_arguments([], None)
    assert len(jobs) >= 60 and len({tuple(job) for job in jobs}) == len(jobs)
    assert [job for job in jobs if not is_sound(job)] == []
    assert not any(text.startswith("seed=") for job in jobs for text in job)
