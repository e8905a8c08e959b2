#!/usr/bin/env bash
# Sets everything up in .venv, then runs the linters: style, format, types, and who may import whom.
EXTRAS=dev
. "$(dirname "$0")/environment.sh"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports
