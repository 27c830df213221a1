"""Fetch the pinned swagger-ui-dist package, check it, and write the files that `/docs` serves.

    python scripts/vendor_swagger_ui.py            # fetch, verify, write
    python scripts/vendor_swagger_ui.py --check    # verify the files that are in the repository

To move to another version: change VERSION and INTEGRITY (`npm view swagger-ui-dist@VERSION
dist.integrity`), run the script, and put the digests it prints into FILES. It needs `npm`, which
brings the package from whatever registry it is configured for.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "5.35.0"
INTEGRITY = (
    "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0w"
    "CDNsXdGarTNNHC3sU8yVUQ=="
)
FOLDER = (
    Path(__file__).resolve().parent.parent
    / "src/enginecrate/server/dashboard/assets/vendor/swagger-ui"
)
FILES = {  # name in the package -> sha256 of the file
    "LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "NOTICE": "0d20d1adef18aee3f40dd258172155521ce702ac445cb5f7b7d60ed32dad2fb2",
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui-bundle.js.LICENSE.txt": "37eb6e7e59aed57b2c1acf076574b818ea07b74265717e0bd67b59e0baf9abbb",  # noqa: E501
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}


def fetch(folder: Path) -> Path:
    """The package as one tar file, from npm's configured registry."""
    command = ["npm", "pack", f"swagger-ui-dist@{VERSION}", "--silent", "--ignore-scripts"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / f"swagger-ui-dist-{VERSION}.tgz"


def verify(archive: Path) -> None:
    digest = hashlib.sha512(archive.read_bytes()).digest()
    found = "sha512-" + base64.b64encode(digest).decode()
    if found != INTEGRITY:
        sys.exit(
            f"{archive.name} has integrity {found}, expected {INTEGRITY}: the package is not the "
            "one that was pinned; nothing was written"
        )


def write(archive: Path) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for name in FILES:
            member = tar.extractfile(f"package/{name}")
            if member is None:
                sys.exit(f"{archive.name} holds no file {name}")
            (FOLDER / name).write_bytes(member.read())
            print(f'    "{name}": "{digest_of(name)}",')


def digest_of(name: str) -> str:
    return hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()


def check() -> None:
    wrong = [
        name for name in FILES if not (FOLDER / name).is_file() or digest_of(name) != FILES[name]
    ]
    if wrong:
        sys.exit(f"{FOLDER}: missing or changed: {', '.join(wrong)}; run this script to restore")
    print(f"swagger-ui-dist {VERSION}: {len(FILES)} files are as pinned")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--check", action="store_true", help="only verify what is here")
    if not parser.parse_args().check:
        with tempfile.TemporaryDirectory() as scratch:
            archive = fetch(Path(scratch))
            verify(archive)
            write(archive)
    check()


if __name__ == "__main__":
    main()
