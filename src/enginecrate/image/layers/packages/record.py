"""The file RECORD of an installed package: paths, digests and sizes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Iterable

from enginecrate.image.layers.entries import RegularFile

__all__ = ["SITE", "parse_record", "record_of", "sha256_text"]

SITE = "opt/enginecrate/lib"
"""The folder in which Python finds packages in the image."""


def sha256_text(digest: bytes) -> str:
    """`sha256=` and the digest in URL-safe base64 without padding."""
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def record_of(
    info_folder: str, recorded: Iterable[tuple[str, str, int]], more: Iterable[RegularFile]
) -> RegularFile:
    """RECORD for files that are known by (path, digest, size), and for files in memory."""
    rows = list(recorded)
    for file in more:
        data = file.read()
        digest = sha256_text(hashlib.sha256(data).digest())
        rows.append((file.path.removeprefix(f"{SITE}/"), digest, len(data)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(sorted(rows))
    writer.writerow((f"{info_folder}/RECORD", "", ""))
    return RegularFile(f"{SITE}/{info_folder}/RECORD", text.getvalue().encode())


def parse_record(data: bytes) -> dict[str, str]:
    """The digests by path; a digest may be empty. Raises `ValueError`."""
    rows = csv.reader(io.StringIO(data.decode("utf-8")))
    digests: dict[str, str] = {}
    for row in rows:
        if not row:
            continue
        if len(row) != 3 or row[0] in digests:
            raise ValueError(f"row {row!r}")
        digests[row[0]] = row[1]
    return digests
