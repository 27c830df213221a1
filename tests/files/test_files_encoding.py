"""Files as Windows editors and PowerShell write them."""

from pathlib import Path

import msgspec
import pytest

from enginecrate.builder.accuracy.labelled_boxes import read_coco
from enginecrate.builder.golden.file import read_golden_file
from enginecrate.errors import EnginecrateError
from enginecrate.files.encoding import utf8
from enginecrate.manifest import load_manifest
from enginecrate.manifest.golden_samples import list_samples
from enginecrate.release.keys.trust_file import TrustedKey, load_trust, save_trust
from tiny_release import KEY

MARK = b"\xef\xbb\xbf"
MANIFEST = """[app]
name = "ü"
version = "1.0.0"

[model]
path = "m.onnx"

[pipeline]
task = "tensors"
"""


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_other_encodings_are_named(coding: str):
    with pytest.raises(UnicodeError, match="it is in UTF-16 or UTF-32"):
        utf8("[app]".encode(coding))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"\xef\xbb", "ü".encode()])
def test_all_else_stays_as_it_is(data: bytes):
    assert utf8(data) == data
    assert utf8(MARK + data) == data


def test_a_manifest(tmp_path: Path):
    file = tmp_path / "enginecrate.toml"
    file.write_bytes(MARK + MANIFEST.replace('"ü"', '"app"').encode())
    assert load_manifest(file).manifest.app.name == "app"
    file.write_bytes(MARK + MANIFEST.encode())
    with pytest.raises(EnginecrateError, match=r"line 2, app\.name"):
        load_manifest(file)
    file.write_text(MANIFEST, encoding="utf-16")
    with pytest.raises(EnginecrateError, match="in UTF-16 or UTF-32"):
        load_manifest(file)


def test_golden_samples(tmp_path: Path):
    samples = b'{"format": 1, "samples": [{"input": "a.png", "expected": {}}]}'
    (tmp_path / "golden.json").write_bytes(samples)
    expected = read_golden_file(tmp_path)
    (tmp_path / "golden.json").write_bytes(MARK + samples)
    assert read_golden_file(tmp_path) == expected
    assert list_samples(MARK + samples) == ("a.png",)
    (tmp_path / "golden.json").write_text(samples.decode(), encoding="utf-16")
    with pytest.raises(EnginecrateError, match="in UTF-16 or UTF-32"):
        read_golden_file(tmp_path)


def test_a_trust_file(tmp_path: Path):
    key = TrustedKey(key=KEY.public, name="ü")
    save_trust(tmp_path / "keys.toml", [key])
    data = (tmp_path / "keys.toml").read_bytes()
    (tmp_path / "keys.toml").write_bytes(MARK + data)
    assert load_trust(tmp_path / "keys.toml") == (key,)
    (tmp_path / "keys.toml").write_text(data.decode(), encoding="utf-16")
    with pytest.raises(EnginecrateError, match="in UTF-16 or UTF-32"):
        load_trust(tmp_path / "keys.toml")


def test_labelled_photos(tmp_path: Path):
    (tmp_path / "a.png").touch()
    document = {"images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 9}],
                "annotations": [], "categories": [{"id": 0, "name": "a"}]}  # fmt: skip
    data = msgspec.json.encode(document)
    (tmp_path / "boxes.json").write_bytes(MARK + data)
    assert read_coco(tmp_path / "boxes.json", ["a"])
    (tmp_path / "boxes.json").write_text(data.decode(), encoding="utf-16")
    with pytest.raises(EnginecrateError, match="in UTF-16 or UTF-32"):
        read_coco(tmp_path / "boxes.json", ["a"])
