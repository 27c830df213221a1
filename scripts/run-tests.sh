#!/usr/bin/env bash
# Lint, types and tests. `--full` adds the long tests. `--newest`: tests alone, with .venv-newest
# (newer linters find other faults). What follows goes to pytest: files, options.
set -euo pipefail
cd "$(dirname "$0")/.."
set_name=${1:-}
case $set_name in --full | --newest) shift ;; *) set_name= ;; esac
scripts/install-browser.sh
scripts/install-containers.sh $set_name
bin=.venv/bin
if [ "$set_name" = --newest ]; then
  bin=.venv-newest/bin
else
  $bin/ruff check .
  $bin/ruff format --check .
  $bin/mypy
fi
if [ "$set_name" = --full ]; then
  exec $bin/python -m pytest "$@"
fi
exec $bin/python -m pytest -m "not full" "$@"
