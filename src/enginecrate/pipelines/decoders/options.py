"""`[pipeline.decoder_options]` as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from enginecrate.errors import PipelineInvalid, nearest

__all__ = ["Activation", "Options", "parse_options"]

Activation = Literal["none", "sigmoid", "softmax"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every decoder's options."""


_O = TypeVar("_O", bound=Options)


def parse_options(decoder: str, options: Mapping[str, Any], kind: type[_O]) -> _O:
    """Check the options of one decoder.

    Raises:
        PipelineInvalid: an unknown key, or a value of the wrong type or out of its range.
    """
    known = kind.__struct_fields__
    for key in options:
        if key not in known:
            raise PipelineInvalid(
                f"[pipeline] decoder_options: unknown key {key!r}; the decoder "
                f"{decoder!r} knows {', '.join(known)}{nearest(key, known)}"
            )
    try:
        return msgspec.convert(dict(options), kind)
    except msgspec.ValidationError as exc:
        raise PipelineInvalid(f"[pipeline] decoder_options of {decoder!r}: {exc}") from exc
