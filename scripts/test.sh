#!/usr/bin/env bash
# Sets everything up in .venv, then runs the linters, the type checker and the tests.
# Arguments go to pytest: scripts/test.sh -m slow, scripts/test.sh tests/test_contract.py -k int8
EXTRAS=dev
. "$(dirname "$0")/environment.sh"
if [ $# -eq 0 ]; then
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy
fi
# a process for each core, of one thread each
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec .venv/bin/python -m pytest -n auto --dist worksteal "$@"
