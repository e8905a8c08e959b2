#!/usr/bin/env bash
# Installs the lowest version that pyproject.toml allows of each direct dependency into .venv-lowest, and runs the tests of the
# core with them. torch and MTEB are left out: gigabytes. Arguments go to pytest, in place of the tests named below.
# uv asks the index that UV_DEFAULT_INDEX names, PyPI by default; PYTHON chooses the interpreter (python3.11).
EXTRAS=dev
. "$(dirname "$0")/environment.sh"
uv=.venv/bin/uv
extras=(--extra joblib --extra hdf5 --extra site)
"$uv" venv --quiet --clear --python "$PYTHON" .venv-lowest
"$uv" pip compile --quiet --resolution lowest-direct --python .venv-lowest "${extras[@]}" pyproject.toml -o .venv-lowest/lowest.txt
"$uv" pip install --quiet --python .venv-lowest -r .venv-lowest/lowest.txt
# what only the tests need may be new
"$uv" pip install --quiet --python .venv-lowest -c .venv-lowest/lowest.txt pytest hypothesis pytest-xdist pytrec_eval-terrier constriction
"$uv" pip install --quiet --python .venv-lowest --no-deps -e .
grep '==' .venv-lowest/lowest.txt | tr '\n' ' '
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
if [ $# -eq 0 ]; then
    set -- tests/methods/{kernels,product,tables,transforms} tests/methods/scalar/test_lvq.py \
        tests/methods/rotated/test_faiss_rabitq.py tests/harness/{base,evaluation} \
        tests/harness/runs/test_{config,run,store}.py tests/harness/analysis/test_{pareto,recommend}.py \
        tests/harness/report/test_{latex,site,views,write}.py tests/harness/exchange/test_index_export.py
fi
exec .venv-lowest/bin/python -m pytest -n auto --dist worksteal "$@"
