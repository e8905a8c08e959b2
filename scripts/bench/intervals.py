"""How long the statistics of a table take.

    python scripts/bench/intervals.py --settings 60 --queries 1500

Prints the seconds for intervals, tests and verdicts of all settings against float32, and their ratio to scipy's
bootstrap and permutation test of a single one of them.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.stats import bootstrap, permutation_test

from harness.analysis import statistics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", type=int, default=60)
    parser.add_argument("--queries", type=int, default=1500)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    exact = rng.beta(2, 1, options.queries)
    moved = rng.random((options.settings, options.queries)) < 0.4
    scores = np.clip(exact + moved * rng.normal(-0.01, 0.2, moved.shape), 0, 1)
    statistics.compare(scores[:1], exact)  # warm-up
    start = time.perf_counter()
    statistics.compare(scores, exact)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    difference = (scores[0] - exact,)
    bootstrap(difference, np.mean, n_resamples=statistics.RESAMPLES, method="BCa", batch=1000, rng=rng)
    permutation_test(difference, np.mean, permutation_type="samples", n_resamples=statistics.FLIPS, batch=1000, rng=rng)
    scipys = time.perf_counter() - start
    print(f"{options.settings} settings x {options.queries} queries: {ours:.2f} s")
    print(f"scipy, one setting: {scipys:.2f} s; for all of them, {options.settings * scipys / ours:.0f} times ours")


if __name__ == "__main__":
    main()
