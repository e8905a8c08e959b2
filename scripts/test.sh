#!/usr/bin/env bash
# Sets everything up in .venv, then runs the linters, builds the documentation and runs the tests.
# COVERAGE=1 also says which share of the lines the tests run; with Python 3.11 that takes two fifths more time.
# Arguments go to pytest, and then it is the tests only: scripts/test.sh -m slow, scripts/test.sh tests/test_contract.py -k int8
EXTRAS=dev
. "$(dirname "$0")/environment.sh"
# a process for each core, of one thread each
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
tests=(.venv/bin/python -m pytest -n auto --dist worksteal)
[ $# -eq 0 ] || exec "${tests[@]}" "$@"
scripts/lint.sh
scripts/docs.sh
if [ -n "${COVERAGE:-}" ]; then
    "${tests[@]}" --cov --cov-report=
    echo "lines covered by the tests: $(.venv/bin/coverage report --format=total) %"
else
    exec "${tests[@]}"
fi
