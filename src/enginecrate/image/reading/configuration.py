"""The configuration of an image, read with a limit."""

from __future__ import annotations

from enginecrate.errors import ImageInvalid
from enginecrate.image.formats.oci import Descriptor, ImageConfig, decode_config
from enginecrate.image.transports.base import ImageSource

__all__ = ["read_config"]

_LARGEST = 8 << 20


def read_config(transport: ImageSource, descriptor: Descriptor) -> ImageConfig:
    """Read the configuration that a manifest names.

    Raises:
        ImageInvalid: it is larger than 8 MiB, or malformed.
        ImageNotFound, BlobCorrupt: it is missing or damaged.
    """
    if descriptor.size > _LARGEST:
        raise ImageInvalid(
            f"the configuration {descriptor.digest} has {descriptor.size:,} bytes; "
            f"at most {_LARGEST:,} are read"
        )
    data = b"".join(transport.read_blob(descriptor))
    return decode_config(data, f"the configuration {descriptor.digest}")
