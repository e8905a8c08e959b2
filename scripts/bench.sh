#!/usr/bin/env bash
# From a clean clone to the Pareto table and plot: sets everything up in .venv, runs experiment=quick, writes the report.
# Arguments are overrides of the sweep: scripts/bench.sh seed=0,1,2
EXTRAS=models
. "$(dirname "$0")/environment.sh"
.venv/bin/vecbudget sweep experiment=quick "$@"
.venv/bin/vecbudget report
