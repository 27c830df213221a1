import hashlib
from pathlib import Path

import numpy as np
import pytest

from enginecrate.values import DataType, Digest


@pytest.mark.parametrize("datatype", list(DataType))
def test_numpy_and_back(datatype: DataType):
    assert DataType.of(datatype.numpy) is datatype


def test_text_arrays_are_bytes():
    assert DataType.of(np.array(["a"]).dtype) is DataType.BYTES


def test_a_dtype_without_a_datatype():
    with pytest.raises(ValueError, match="complex64"):
        DataType.of(np.complex64)


def test_digest_of_bytes_and_file_agree(tmp_path: Path):
    file = tmp_path / "data"
    file.write_bytes(b"crate" * 100_000)
    digest = Digest.of_file(file)
    assert digest == Digest.of(b"crate" * 100_000)
    assert digest.hex == hashlib.sha256(b"crate" * 100_000).hexdigest()
    assert digest.short == digest.hex[:12]


@pytest.mark.parametrize("text", ["", "sha256:abc", "md5:" + "0" * 64, "sha256:" + "G" * 64])
def test_bad_digest(text: str):
    with pytest.raises(ValueError, match="not a sha256 digest"):
        Digest(text)
