"""A vendor's class as the server needs it: plain results, and Pillow's errors in our words."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import PIL
from PIL import Image

from enginecrate.errors import EnginecrateError, ImageTooLarge, ImageUndecodable
from enginecrate.pipelines.plain_result import plain_result
from enginecrate.values import Tensors

__all__ = ["adapted_class"]

_PILLOW = Path(PIL.__file__).parent


def adapted_class(own: type[Any]) -> type[Any]:
    """The class itself, but for two methods.

    `finish` gives plain results (`plain_result`). Where `prepare` lets Pillow's errors about a
    damaged picture pass, they become ours, so that the client hears that its picture is damaged.
    """
    members: dict[str, Any] = {
        "__module__": own.__module__,
        "__qualname__": own.__qualname__,
        "__doc__": own.__doc__,
    }
    prepare, finish = getattr(own, "prepare", None), getattr(own, "finish", None)
    if not callable(prepare) or not callable(finish):
        return own  # the check of the interface says it

    def adapted_prepare(self: Any, payload: bytes | memoryview) -> Any:
        try:
            return prepare(self, payload)
        except (OSError, SyntaxError, Image.DecompressionBombError) as exc:
            translated = _translated(exc)
            if translated is None:
                raise
            raise translated from exc

    def adapted_finish(self: Any, outputs: Tensors, context: Any) -> Any:
        return plain_result(finish(self, outputs, context), own.__name__)

    members |= {"prepare": adapted_prepare, "finish": adapted_finish}
    return types.new_class(own.__name__, (own,), {}, lambda space: space.update(members))


def _translated(error: Exception) -> EnginecrateError | None:
    """Our error for one that Pillow has raised; `None` for one of the class's own."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or _PILLOW not in Path(trace.tb_frame.f_code.co_filename).parents:
        return None
    kind: type[EnginecrateError] = ImageUndecodable
    if isinstance(error, Image.DecompressionBombError):
        kind = ImageTooLarge
    return kind(f"Pillow cannot decode the image: {error}; send it as JPEG, PNG or WebP, whole")
