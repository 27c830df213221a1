"""References as people write them, and the transports and names that they stand for.

registry.example.com/isv/app:v1.2.0-ort-cpu     a registry
registry.example.com/isv/app@sha256:...
oci:build/image:v1.2.0-ort-cpu                  an OCI layout in a folder
build/image                                     the same, when it is there and has one image
app.tar:v1.2.0-ort-cpu                          an archive
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from enginecrate.errors import ReferenceInvalid, SystemRefused
from enginecrate.image.transports.base import ImageSource, ImageTarget
from enginecrate.image.transports.layout_reader import LayoutReader
from enginecrate.values import ImageRef

if TYPE_CHECKING:
    from enginecrate.image.transports.registry import RegistryOptions

__all__ = ["find_transport", "open_target", "open_transport"]

_NAME = re.compile(
    r"(?P<path>.+?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_SHORT = re.compile(r"[a-z0-9][a-z0-9._/-]*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?")


def open_transport(text: str, options: RegistryOptions | None = None) -> tuple[ImageSource, str]:
    """The transport and the name (tag or digest) of an image.

    Args:
        text: as above.
        options: how registries are spoken to.

    Raises:
        ReferenceInvalid: it cannot be understood, or does not say which image is meant.
        ImageNotFound: there is no such folder or archive.
    """
    transport, name = find_transport(text, options)
    if name:
        return transport, name
    if isinstance(transport, LayoutReader):
        from enginecrate.image.transports.tags import only_image

        return transport, only_image(transport)
    raise ReferenceInvalid(
        f"{text} does not say which image: add a tag ({text}:v1.2.0-ort-cpu) or a digest; there is "
        "no default, since `latest` says nothing"
    )


def find_transport(text: str, options: RegistryOptions | None = None) -> tuple[ImageSource, str]:
    """The same, with an empty name where `text` has none."""
    kind, rest = _kind_of(text)
    if kind == "archive":
        return _archive(rest)
    if kind == "layout":
        return _layout(rest, create=False)
    return _registry(rest, options, write=False)


def open_target(
    text: str, options: RegistryOptions | None = None, *, create: bool = True
) -> tuple[ImageTarget, str]:
    """The target of an image, and its name there, which may be empty.

    A layout is made if need be, with `create`. Other arguments and errors as `open_transport`.
    """
    kind, rest = _kind_of(text)
    if kind == "archive":
        raise ReferenceInvalid(f"{text}: an archive is written with `enginecrate image save`")
    if kind == "layout":
        return _layout(rest, create=create)
    return _registry(rest, options, write=True)


def _kind_of(text: str) -> tuple[Literal["layout", "archive", "registry"], str]:
    """The kind of transport that a text names, and the text without its scheme."""
    scheme, _, rest = text.partition(":")
    if scheme == "oci" and rest:
        return "layout", rest
    if scheme == "oci-archive" and rest:
        return "archive", rest
    if _split(text)[0].endswith(".tar"):
        return "archive", text
    if any(Path(path, "oci-layout").is_file() for path in (text, _split(text)[0])):
        return "layout", text
    return "registry", text.removeprefix("docker://")


def _registry(
    text: str, options: RegistryOptions | None, *, write: bool
) -> tuple[ImageTarget, str]:
    from enginecrate.image.transports.registry import Repository

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


def _layout(text: str, *, create: bool) -> tuple[ImageTarget, str]:
    from enginecrate.image.transports.layout import Layout

    path, name = (text, "") if Path(text, "oci-layout").is_file() else _split(text)
    try:
        return Layout(Path(path), create=create), name
    except OSError as exc:
        raise SystemRefused(f"cannot use {path} as a layout: {exc.strerror}") from exc


def _archive(text: str) -> tuple[ImageSource, str]:
    from enginecrate.image.transports.oci_archive import Archive

    path, name = (text, "") if Path(text).is_file() else _split(text)
    return Archive(Path(path)), name


def _split(text: str) -> tuple[str, str]:
    """Path and name; a name never has a slash."""
    match = _NAME.fullmatch(text)
    if match is None:
        return text, ""
    return match["path"], match["digest"] or match["tag"] or ""


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
