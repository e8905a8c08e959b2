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
exec .venv/bin/python -m pytest "$@"
