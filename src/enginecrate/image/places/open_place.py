"""From what people write to a place and a name in it.

registry.example.com/isv/app:v1.2.0-ort-cpu     a registry
registry.example.com/isv/app@sha256:...
oci:build/image:v1.2.0-ort-cpu                  an OCI layout in a folder
build/image                                     the same, when it is there and has one image
app.tar:v1.2.0-ort-cpu                          an archive
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from enginecrate.errors import ReferenceInvalid, SystemRefused
from enginecrate.image.places.layout_reading import LayoutReading
from enginecrate.image.places.place import Place
from enginecrate.values import ImageRef

if TYPE_CHECKING:
    from enginecrate.image.places.registry import RegistryOptions

__all__ = ["find_place", "open_place"]

_NAME = re.compile(
    r"(?P<path>.+?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_SHORT = re.compile(r"[a-z0-9][a-z0-9._/-]*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?")


def open_place(
    text: str, *, write: bool = False, options: RegistryOptions | None = None
) -> tuple[Place, str]:
    """The place and the name (tag or digest) of an image.

    Args:
        text: as above.
        write: the image will be written there: a layout is made if need be, and the name may be
            missing (then it is empty).
        options: how registries are spoken to.

    Raises:
        ReferenceInvalid: it cannot be understood, or does not say which image is meant.
        ImageNotFound: there is no such folder or archive.
    """
    place, name = find_place(text, write=write, options=options)
    if name or write:
        return place, name
    if isinstance(place, LayoutReading):
        from enginecrate.image.places.selection import only_image

        return place, only_image(place)
    raise ReferenceInvalid(
        f"{text} does not say which image: add a tag ({text}:v1.2.0-ort-cpu) or a digest; there is "
        "no default, since `latest` says nothing"
    )


def find_place(
    text: str, *, write: bool = False, options: RegistryOptions | None = None
) -> tuple[Place, str]:
    """The same, with an empty name where `text` has none."""
    scheme, _, rest = text.partition(":")
    if scheme == "oci" and rest:
        return _layout(rest, write=write)
    if scheme == "oci-archive" and rest:
        return _archive(rest, write=write)
    if _split(text)[0].endswith(".tar"):
        return _archive(text, write=write)
    if any(Path(path, "oci-layout").is_file() for path in (text, _split(text)[0])):
        return _layout(text, write=write)
    return _registry(text.removeprefix("docker://"), write=write, options=options)


def _registry(text: str, *, write: bool, options: RegistryOptions | None) -> tuple[Place, str]:
    from enginecrate.image.places.registry import Repository

    try:
        reference = ImageRef.parse(text)
    except ValueError:
        raise ReferenceInvalid(_advice(text)) from None
    if reference.tag.lower() == "latest":
        raise ReferenceInvalid(
            f"{text}: the tag 'latest' is refused, since it says nothing about what it names; "
            "use a version or a digest"
        )
    return Repository(reference, options, write=write), reference.digest or reference.tag


def _layout(text: str, *, write: bool) -> tuple[Place, str]:
    from enginecrate.image.places.layout import Layout

    path, name = (text, "") if Path(text, "oci-layout").is_file() else _split(text)
    try:
        return Layout(Path(path), create=write), name
    except OSError as exc:
        raise SystemRefused(f"cannot use {path} as a layout: {exc.strerror}") from exc


def _archive(text: str, *, write: bool) -> tuple[Place, str]:
    from enginecrate.image.places.archive import Archive

    if write:
        raise ReferenceInvalid(f"{text}: an archive is written with `enginecrate image save`")
    path, name = (text, "") if Path(text).is_file() else _split(text)
    return Archive(Path(path)), name


def _split(text: str) -> tuple[str, str]:
    """Path and name; a name never has a slash."""
    found = _NAME.fullmatch(text)
    if found is None:
        return text, ""
    return found["path"], found["digest"] or found["tag"] or ""


def _advice(text: str) -> str:
    wrong = f"{text!r} names neither an image in a registry nor an OCI layout or archive that is"
    if _SHORT.fullmatch(text) and not text.startswith((".", "/")) and not Path(text).exists():
        return (
            f"{wrong} here; write the registry, too: registry.example.com/{text}, or "
            f"docker.io/{text} for Docker Hub; a layout on disk is oci:{text}"
        )
    return (
        f"{wrong} there; write REGISTRY/REPOSITORY:TAG (in lower case), oci:FOLDER:TAG or "
        "FILE.tar:TAG"
    )
