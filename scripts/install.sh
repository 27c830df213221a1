#!/usr/bin/env bash
# Make .venv with the locked packages of requirements/<set>.txt and this project, editable.
set -euo pipefail
cd "$(dirname "$0")/.."
set_name=${1:?usage: scripts/install.sh runtime|dev}
python=${PYTHON:-python3}

"$python" - <<'PY' || exit 1
import sys
if sys.version_info < (3, 11):
    sys.exit("Enginecrate needs Python 3.11 or later, found %d.%d; name another one with: "
             "make PYTHON=python3.11 ..." % sys.version_info[:2])
PY
[ -x .venv/bin/python ] || { echo "Making the virtual environment .venv"; "$python" -m venv .venv; }
echo "Installing the locked packages (requirements/$set_name.txt)"
progress=--progress-bar=off
[ -t 1 ] && progress=--progress-bar=on
.venv/bin/python -m pip --disable-pip-version-check install $progress --require-hashes \
  -r "requirements/$set_name.txt" 2>&1 | { grep --line-buffered -E '^(Collecting|Installing|Success|ERROR)' || true; }
[ "${PIPESTATUS[0]}" -eq 0 ]
.venv/bin/python -m pip --disable-pip-version-check install -q --no-deps --no-build-isolation -e .
touch .venv/.runtime
[ "$set_name" = dev ] && touch .venv/.dev
echo "Ready: .venv/bin/enginecrate"
