from hydra_plugins.vecbudget_sweeper import without_idle_seed


def test_a_seed_that_nothing_reads_makes_no_further_run() -> None:
    assert without_idle_seed(["method=int8", "method.bits=4", "seed=2"]) == ["method=int8", "method.bits=4"]
    assert without_idle_seed(["method=pq", "seed=2"]) == ["method=pq", "seed=2"]
    assert without_idle_seed(["method=of_somebody_else", "seed=2"]) == ["method=of_somebody_else", "seed=2"]
    assert without_idle_seed(["seed=2"]) == ["seed=2"]
