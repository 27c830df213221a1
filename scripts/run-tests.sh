#!/usr/bin/env bash
# Lint, types and tests. `--full` adds the long tests.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install-browser.sh
scripts/install-containers.sh "$@"
bin=.venv/bin
$bin/ruff check .
$bin/ruff format --check .
$bin/mypy
if [ "${1:-}" = --full ]; then
  exec $bin/python -m pytest
fi
exec $bin/python -m pytest -m "not full"
