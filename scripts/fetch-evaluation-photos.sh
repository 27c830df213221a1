#!/usr/bin/env bash
# Fetch photos to calibrate and to measure accuracy with, out of Debian's package opencv-doc. They
# are for tests and figures, and are never shipped. Needs apt and no root.
#
# usage: scripts/fetch-evaluation-photos.sh FOLDER
set -euo pipefail
folder=$(realpath -m "${1:?usage: scripts/fetch-evaluation-photos.sh FOLDER}")
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
[ -f "$folder/complete" ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(
  cd "$work"
  apt-get download opencv-doc >apt.log 2>&1 || {
    cat apt.log >&2
    echo "apt-get cannot download opencv-doc: run 'apt-get update' once as root" >&2
    exit 1
  }
  dpkg-deb -x opencv-doc_*.deb files
)
rm -rf "$folder"
"$python" "$here/evaluation_photos.py" "$work/files/usr/share/doc/opencv-doc/examples" "$folder"
touch "$folder/complete"
