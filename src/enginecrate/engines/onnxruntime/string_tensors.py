"""BYTES tensors as a runtime's text tensors, and back."""

from __future__ import annotations

import numpy as np

from enginecrate.errors import TensorMismatch
from enginecrate.values import Array

__all__ = ["decode_texts", "encode_texts"]


def decode_texts(name: str, array: Array) -> Array:
    """From `bytes` to `str`: ONNX strings are UTF-8.

    Raises:
        TensorMismatch: an element is not UTF-8; `name` is the tensor's.
    """
    try:
        texts = [element.decode() for element in array.flat]
    except UnicodeDecodeError as exc:
        raise TensorMismatch(
            f"input {name!r}: an element is not UTF-8 ({exc.reason}), and texts of ONNX are; send "
            "text as UTF-8, and other bytes to an input of UINT8 or as base64"
        ) from exc
    return np.fromiter(texts, dtype=object, count=array.size).reshape(array.shape)


def encode_texts(array: Array) -> Array:
    """From `str` to UTF-8 `bytes`."""
    encoded = (text.encode() for text in array.flat)
    return np.fromiter(encoded, dtype=object, count=array.size).reshape(array.shape)
