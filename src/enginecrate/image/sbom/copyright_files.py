"""Licences of a Debian package from its `usr/share/doc/<package>/copyright`.

Source: Debian, "Machine-readable debian/copyright file" version 1.0. Files of other forms become
one `LicenseRef-...` with their whole text: what they say is for people, and guessing is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from enginecrate.image.sbom.control_data import paragraphs
from enginecrate.image.sbom.licences import LicenceTexts, all_of, any_of, debian_id

__all__ = ["debian_licence"]

_FORMAT = re.compile(r"Format:\s*https?://(www|dep)\.debian\.(org|net)/\S*(copyright-format|dep5)")
_OR = re.compile(r",?\s+or\s+", re.IGNORECASE)
_COMMA_AND = re.compile(r",\s+and\s+", re.IGNORECASE)
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)


def debian_licence(package: str, text: str, texts: LicenceTexts) -> str:
    """The SPDX expression of everything that the file lists; empty when it is empty.

    It covers the source package, as the file does: a binary package may hold less.
    """
    text = text.strip()
    if not text:
        return ""
    if not _FORMAT.match(text):
        return texts.add(f"{package}-copyright", text)
    sections = list(paragraphs(text))
    bodies = dict(_stand_alone(sections))
    expressions = [
        _expression(*_split(section["license"]), bodies, texts)
        for section in sections
        if "license" in section and ("files" in section or "format" in section)
    ]
    return all_of(expressions) or texts.add(f"{package}-copyright", text)


def _stand_alone(sections: list[Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """Texts by short name, of every paragraph that gives one."""
    for section in sections:
        name, body = _split(section.get("license", ""))
        if body:
            yield name.lower(), body


def _split(field: str) -> tuple[str, str]:
    name, _, body = field.partition("\n")
    return name.strip(), body.strip()


def _expression(name: str, body: str, bodies: Mapping[str, str], texts: LicenceTexts) -> str:
    """`and` binds closer than `or`, unless a comma stands before it."""
    if whole := debian_id(name):
        return whole
    if body and not (_OR.search(name) or _AND.search(name)):
        return _single(name, body, bodies, texts)
    return all_of(
        any_of(
            all_of(_single(one, body, bodies, texts) for one in _AND.split(choice))
            for choice in _OR.split(part)
        )
        for part in _COMMA_AND.split(name)
    )


def _single(name: str, body: str, bodies: Mapping[str, str], texts: LicenceTexts) -> str:
    name = name.strip().strip(",")
    if not name:
        return ""
    text = bodies.get(name.lower()) or body
    return debian_id(name) or texts.add(name, text or f"The package calls this licence: {name}")
