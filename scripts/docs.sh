#!/usr/bin/env bash
# Sets everything up in .venv, then builds the documentation into build/docs/. A broken link or reference is an error.
# Nothing is fetched, neither here nor by who reads the pages: open build/docs/index.html.
EXTRAS=dev
. "$(dirname "$0")/environment.sh"
# its announcements are not about the pages
export NO_MKDOCS_2_WARNING=1
exec .venv/bin/mkdocs build --strict --quiet "$@"
