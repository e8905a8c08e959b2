#!/usr/bin/env bash
# From a clean clone to the Pareto table, the plot and the leaderboard: sets everything up in .venv, runs experiment=quick,
# writes the report and says where the page is. Arguments are overrides of the sweep: scripts/bench.sh seed=0,1,2
EXTRAS=models,site
. "$(dirname "$0")/environment.sh"
.venv/bin/vecbudget sweep experiment=quick "$@"
.venv/bin/vecbudget report
echo
echo "The leaderboard, to open in a browser: $PWD/results/report/site/index.html"
