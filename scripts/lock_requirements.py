"""Resolve the dependencies of pyproject.toml into requirements/*.txt, with hashes.

The development set is resolved first, and constrains the other one: whatever a user gets is a
version that the tests ran with. (The other way round fails: a client that only tests use allows
fewer versions of ml-dtypes than we do.)

Package sources come from pip's own configuration; no host is written.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETS: dict[str, list[str]] = {
    "dev": ["--extra=dev"],
    "runtime": ["--constraint=requirements/dev.txt"],
}


def main() -> None:
    build_tool = ROOT / "requirements" / "build.in"
    for name, options in SETS.items():
        output = f"requirements/{name}.txt"
        print(f"Resolving {output}", flush=True)
        command = [
            sys.executable, "-m", "piptools", "compile", "--quiet", "--strip-extras",
            "--generate-hashes", "--allow-unsafe", "--no-emit-index-url",
            "--no-emit-trusted-host", "--no-emit-find-links", "--no-emit-options",
            "--no-annotate", *sys.argv[1:], *options,
            f"--output-file={output}", "pyproject.toml", str(build_tool.relative_to(ROOT)),
        ]  # fmt: skip
        environment = {"CUSTOM_COMPILE_COMMAND": "make lock"}
        subprocess.run(command, cwd=ROOT, check=True, env=os.environ | environment)


if __name__ == "__main__":
    main()
