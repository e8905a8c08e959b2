#!/usr/bin/env bash
# Regenerates results/reference/: the README's main job, every method on SciFact, two published comparisons, the frontier
# at equal bytes, and a hundred settings and every vector store's switches on three collections.
#
#   scripts/reproduce.sh                    SciFact through MTEB, from the Hugging Face hub
#   SCIFACT=data/scifact MLQUESTIONS=data/mlquestions scripts/reproduce.sh
#                                           SciFact and MLQuestions from BEIR folders
#   FRONTIER="data/scifact data/cranfield" ... the frontier on these folders too, not only on SciFact and the built-in set
#   LEARNED="data/scifact data/mlquestions" ... learned compressors on these folders: hours
#   LEARNED_LARGE=data/oewn-glosses ... some of them on a folder of 100,000 documents or more
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
    mlquestions=(dataset=folder "dataset.path=$MLQUESTIONS" dataset.name=mlquestions)
else
    elsewhere=(dataset@fit_dataset=mteb fit_dataset.name=MLQuestions)
    mlquestions=(dataset=mteb dataset.name=MLQuestions)
fi
runs=results/reference-runs
vecbudget=.venv/bin/vecbudget

"$vecbudget" sweep experiment=quick "results_dir=$runs/quick"
"$vecbudget" sweep experiment=scifact_zoo "${scifact[@]}" "results_dir=$runs/scifact_zoo"
for paper in paper_2505_00105 paper_corect; do
    "$vecbudget" sweep "experiment=$paper" "${scifact[@]}" "results_dir=$runs/$paper"
done
"$vecbudget" sweep experiment=paper_2505_00105 "${scifact[@]}" "${elsewhere[@]}" "results_dir=$runs/paper_2505_00105_elsewhere"

for experiment in full databases; do
    for collection in scifact mlquestions builtin; do
        case $collection in
            scifact) data=("${scifact[@]}") ;;
            mlquestions) data=("${mlquestions[@]}") ;;
            builtin) data=() ;;
        esac
        "$vecbudget" sweep "experiment=$experiment" "${data[@]}" "results_dir=$runs/$experiment"
    done
done

frontier() { # collection, half of its documents, overrides
    local name=$1 half=$2
    shift 2
    # some methods cannot be fitted on a small collection; the others are kept
    "$vecbudget" sweep experiment=frontier "$@" "results_dir=$runs/frontier/$name" || [ $? -eq 1 ]
    "$vecbudget" sweep experiment=frontier_half "$@" "fit_sample=$half" "results_dir=$runs/frontier_half/$name" || [ $? -eq 1 ]
}
frontier stdlib 1704
if [ -n "${FRONTIER:-}" ]; then
    for folder in $FRONTIER; do
        name=$(basename "$folder")
        frontier "$name" $(($(wc -l < "$folder/corpus.jsonl") / 2)) dataset=folder "dataset.path=$folder" "dataset.name=$name"
    done
else
    frontier scifact 2591 "${scifact[@]}"
fi

for folder in ${LEARNED:-}; do
    for experiment in learned learned_trends; do
        "$vecbudget" sweep "experiment=$experiment" dataset=folder "dataset.path=$folder" "results_dir=$runs/$experiment"
    done
    if [ -e "$folder/qrels/train.tsv" ]; then
        "$vecbudget" sweep experiment=learned_titles dataset=folder "dataset.path=$folder" "results_dir=$runs/learned_titles"
    fi
done
if [ -n "${LEARNED:-}" ]; then
    titles=()
    [ ! -d "$runs/learned_titles" ] || titles=(--titles "$runs/learned_titles")
    .venv/bin/python scripts/learned_table.py --runs "$runs/learned" "${titles[@]}" --out results/reference/learned/learned.md
    .venv/bin/python scripts/learned_trends.py --runs "$runs/learned_trends" --out results/reference/learned/trends.md
fi
if [ -n "${LEARNED_LARGE:-}" ]; then
    "$vecbudget" sweep experiment=learned_large dataset=folder "dataset.path=$LEARNED_LARGE" "results_dir=$runs/learned_large"
    .venv/bin/python scripts/learned_table.py --runs "$runs/learned_large" --out results/reference/learned/large.md
fi

for name in quick scifact_zoo full databases paper_2505_00105 paper_2505_00105_elsewhere paper_corect; do
    "$vecbudget" report --no-site --results "$runs/$name" --out "results/reference/$name"
done
# the same as the PNGs and CSVs, and large or binary; scores.parquet stays: from it the tables can be made again
find results/reference \( -name '*.svg' -o -path '*/tables/*.parquet' \) -delete
find results/reference -name scores.parquet ! -path '*/quick/*' -delete
# of the stores' report, what is said of stores
find results/reference/databases -mindepth 1 -maxdepth 1 ! -name 'databases*' ! -name runs.csv ! -name recall.md ! -name stores.md -exec rm -r {} +
# results/reference/databases/stores.md is scripts/check_stores.py's, which needs the stores themselves
[ -z "${SCIFACT:-}" ] || .venv/bin/python scripts/store_recall.py --scifact "$SCIFACT" --out results/reference/databases/recall.md
.venv/bin/python scripts/write_readme.py
.venv/bin/python scripts/paper_claims.py --runs "$runs" --out results/reference/papers.md
.venv/bin/python scripts/frontier.py --runs "$runs/frontier" --half "$runs/frontier_half" --out results/reference/frontier
.venv/bin/python scripts/predictors.py --runs "$runs/frontier" --out results/reference
