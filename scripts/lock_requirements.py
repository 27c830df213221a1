"""Resolve the dependencies of pyproject.toml into requirements/*.txt, with hashes.

Package sources come from pip's own configuration; no host is written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETS: dict[str, list[str]] = {"runtime": [], "dev": ["--extra=dev"]}


def main() -> None:
    build_tool = ROOT / "requirements" / "build.in"
    for name, extras in SETS.items():
        output = f"requirements/{name}.txt"
        print(f"Resolving {output}", flush=True)
        command = [
            sys.executable, "-m", "piptools", "compile", "--quiet", "--strip-extras",
            "--generate-hashes", "--allow-unsafe", "--no-emit-index-url",
            "--no-emit-trusted-host", "--no-emit-find-links", "--no-emit-options",
            "--no-annotate", *sys.argv[1:], *extras,
            f"--output-file={output}", "pyproject.toml", str(build_tool.relative_to(ROOT)),
        ]  # fmt: skip
        environment = {"CUSTOM_COMPILE_COMMAND": "make lock"}
        subprocess.run(command, cwd=ROOT, check=True, env=os.environ | environment)
    lock_stubs()


def lock_stubs() -> None:
    """The type stubs of TensorRT demand TensorRT itself, so they are locked without their needs."""
    print("Resolving requirements/stubs.txt", flush=True)
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
        "--no-deps", "--report=-", "--requirement", str(ROOT / "requirements" / "stubs.in"),
    ]  # fmt: skip
    report = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines = ["# Written by: make lock"]
    for found in json.loads(report)["install"]:
        name, version = found["metadata"]["name"], found["metadata"]["version"]
        digest = found["download_info"]["archive_info"]["hashes"]["sha256"]
        lines += [f"{name}=={version} \\", f"    --hash=sha256:{digest}"]
    (ROOT / "requirements" / "stubs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
