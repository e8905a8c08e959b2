#!/usr/bin/env bash
# Regenerates results/reference/: the README's main job, every method on SciFact, and two published comparisons.
#
#   scripts/reproduce.sh                    SciFact through MTEB, from the Hugging Face hub
#   SCIFACT=data/scifact MLQUESTIONS=data/mlquestions scripts/reproduce.sh
#                                           SciFact and MLQuestions from BEIR folders
#
# Records go to results/reference-runs/ (not committed); an interrupted run goes on where it stopped.
EXTRAS=dev
. "$(dirname "$0")/environment.sh"

if [ -n "${SCIFACT:-}" ]; then
    scifact=(dataset=folder "dataset.path=$SCIFACT" dataset.name=scifact)
else
    scifact=(dataset=mteb dataset.name=SciFact)
fi
if [ -n "${MLQUESTIONS:-}" ]; then
    elsewhere=(dataset@fit_dataset=folder "fit_dataset.path=$MLQUESTIONS")
else
    elsewhere=(dataset@fit_dataset=mteb fit_dataset.name=MLQuestions)
fi
runs=results/reference-runs
vecbudget=.venv/bin/vecbudget

"$vecbudget" sweep experiment=quick "results_dir=$runs/quick"
"$vecbudget" sweep experiment=scifact_zoo "${scifact[@]}" "results_dir=$runs/scifact_zoo"
for paper in paper_2505_00105 paper_corect; do
    "$vecbudget" sweep "experiment=$paper" "${scifact[@]}" "results_dir=$runs/$paper"
done
"$vecbudget" sweep experiment=paper_2505_00105 "${scifact[@]}" "${elsewhere[@]}" "results_dir=$runs/paper_2505_00105_elsewhere"

for name in quick scifact_zoo paper_2505_00105 paper_2505_00105_elsewhere paper_corect; do
    "$vecbudget" report --results "$runs/$name" --out "results/reference/$name"
done
find results/reference -name '*.svg' -delete  # the same pictures as the PNGs, and large
.venv/bin/python scripts/paper_claims.py --runs "$runs" --out results/reference/papers.md
