#!/usr/bin/env bash
# Make a virtual environment with this project, editable. runtime, dev: .venv with the locked
# packages of requirements/<set>.txt. newest: .venv-newest with the newest that pyproject.toml allows.
set -euo pipefail
cd "$(dirname "$0")/.."
set_name=${1:?usage: scripts/install.sh runtime|dev|newest}
python=${PYTHON:-python3}
venv=.venv
[ "$set_name" = newest ] && venv=.venv-newest

"$python" - <<'PY' || exit 1
import sys
if sys.version_info < (3, 11):
    sys.exit("Enginecrate needs Python 3.11 or later, found %d.%d; name another one with: "
             "make PYTHON=python3.11 ..." % sys.version_info[:2])
PY
[ -x $venv/bin/python ] || { echo "Making the virtual environment $venv"; "$python" -m venv $venv; }
pip=($venv/bin/python -m pip --disable-pip-version-check install)
progress=--progress-bar=off
[ -t 1 ] && progress=--progress-bar=on
if [ "$set_name" = newest ]; then
  echo "Installing the newest packages that pyproject.toml allows"
  packages=(--upgrade --upgrade-strategy=eager -r requirements/build.in ".[dev]")
else
  echo "Installing the locked packages (requirements/$set_name.txt)"
  packages=(--require-hashes -r "requirements/$set_name.txt")
fi
"${pip[@]}" $progress "${packages[@]}" 2>&1 |
  { grep --line-buffered -E '^(Collecting|Installing|Success|ERROR)' || true; }
[ "${PIPESTATUS[0]}" -eq 0 ]
"${pip[@]}" -q --no-deps --no-build-isolation -e .
touch $venv/.runtime
[ "$set_name" != runtime ] && touch $venv/.dev
echo "Ready: $venv/bin/enginecrate"
