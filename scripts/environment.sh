# Sourced by the other scripts: an own virtual environment (.venv) with this checkout and the extras in $EXTRAS.
# PYTHON chooses the interpreter (python3.11). Nothing is installed again while pyproject.toml and constraints.txt stand.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON="${PYTHON:-python3.11}"
command -v "$PYTHON" >/dev/null || PYTHON=python3
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "vecbudget needs Python 3.11 or newer; set PYTHON=..." >&2; exit 1; }

[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
stamp=".venv/.installed-$EXTRAS"
if ! cat pyproject.toml constraints.txt | cmp -s - "$stamp"; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$EXTRAS]"
    cat pyproject.toml constraints.txt >"$stamp"
fi
