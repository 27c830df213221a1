"""The licence that a Python package states.

In this order: `License-Expression`; the `License` field, if it is a name that means one licence;
the classifiers, each of them; the text of its licence files. Names such as "BSD" mean several
licences, so the text decides there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.message import Message

from enginecrate.image.sbom.image_files import ImageFiles
from enginecrate.image.sbom.licences import LicenceTexts, all_of, is_expression, spdx_id

__all__ = ["wheel_licence"]

_NAMES = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
_CLASSIFIER = "License :: "
_FILES = ("LICENSE", "LICENCE", "COPYING", "NOTICE")
_SHORT = 100
_OWN = re.compile(r"LicenseRef-([A-Za-z0-9.-]+)")
_ANY = "MIT"
"""Stands for a name of its own while the rest of an expression is examined."""


def wheel_licence(
    metadata: Message, files: ImageFiles, inside: Sequence[str], texts: LicenceTexts
) -> str:
    """An SPDX expression, empty when the package says nothing.

    Args:
        metadata: its `METADATA`.
        files: of the image.
        inside: the paths of its dist-info.
        texts: grows by what SPDX has no name for.
    """
    text = _texts(files, inside)
    if expression := _expression(metadata.get("License-Expression") or "", text, texts):
        return expression
    stated = (metadata.get("License") or "").strip()
    if named := _named(stated):
        return named
    classified = _classified(metadata)
    if classified and all(classified):
        return all_of(classified)
    text = text or stated
    return texts.add(_title(metadata, stated), text) if text else ""


def _expression(stated: str, text: str, texts: LicenceTexts) -> str:
    """`License-Expression`; names of its own (`LicenseRef-NVIDIA-Proprietary`) get their text."""
    stated = stated.strip()
    if not is_expression(_OWN.sub(_ANY, stated)):
        return ""

    def named(match: re.Match[str]) -> str:
        return texts.add(match[1], text or f"The package calls this licence: {match[1]}")

    return _OWN.sub(named, stated)


def _named(stated: str) -> str:
    """The licence that a short name means, if it means one."""
    if len(stated) > _SHORT:
        return ""
    identifier = _NAMES.get(stated.lower()) or spdx_id(stated)
    return identifier or (stated if is_expression(stated) else "")


def _classified(metadata: Message) -> list[str]:
    names = [
        str(one).rsplit(" :: ", 1)[-1]
        for one in metadata.get_all("Classifier") or ()
        if str(one).startswith(_CLASSIFIER)
    ]
    return [_named(one) for one in names if one != "OSI Approved"]


def _texts(files: ImageFiles, inside: Sequence[str]) -> str:
    chosen = [
        path
        for path in inside
        if "/licenses/" in path or path.rsplit("/", 1)[-1].upper().startswith(_FILES)
    ]
    return "\n\n".join(files.read(path).decode(errors="replace").strip() for path in sorted(chosen))


def _title(metadata: Message, stated: str) -> str:
    """`NVIDIA-Corporation-Proprietary`: whose licence it is, and what they call it."""
    owner = metadata.get("Author") or metadata.get("Name") or ""
    called = stated if 0 < len(stated) <= _SHORT else "licence"
    return f"{owner} {called}"
