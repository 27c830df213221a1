#!/usr/bin/env bash
# The tests of images use a real registry and real container tools. Install what is missing.
# `--full` adds what only the long tests need.
set -euo pipefail
tools=(podman buildah skopeo runc docker-registry)
[ "${1:-}" = --full ] && tools+=(mmdebstrap gcc)
missing=()
for tool in "${tools[@]}"; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null; then
  echo "The tests need these commands; please install them: ${missing[*]}" >&2
  exit 1
fi
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
echo "Installing container tools for the tests: ${missing[*]}"
$sudo apt-get update -qq
# netavark, aardvark-dns and iptables: the network of containers and their published ports.
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends \
  "${missing[@]}" netavark aardvark-dns iptables >/dev/null
