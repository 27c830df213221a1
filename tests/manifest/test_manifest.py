import tomllib
from pathlib import Path

import jsonschema
import pytest

from enginecrate.errors import ManifestInvalid, ManifestNotFound, ManifestSyntax
from enginecrate.manifest import check_files, json_schema, load_manifest, parse_manifest
from enginecrate.manifest.image_rules import base_image_fault
from enginecrate.values import Digest

GOOD = """\
[app]
name = "ai-inspection"
version = "1.2.0"

[model]
path = "models/detector.onnx"
profiles = [{ input = [[1,3,416,416], [8,3,416,416], [32,3,416,416]] }]

[pipeline]
task = "detection"
labels = "models/labels.json"
decoder = "nanodet"
mean = [103.53, 116.28, 123.675]
std = [57.375, 57.12, 58.395]

[precision]
mode = "int8"
calibration = { images = "calibration/" }

[targets]
stacks = ["ort-cpu"]
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "enginecrate.toml"
    file.write_text(text, encoding="utf-8")
    return file


def faults(text: str) -> str:
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(text.encode(), Path("enginecrate.toml"))
    return str(caught.value)


def test_good_manifest_by_folder_and_by_file(tmp_path: Path):
    file = write(tmp_path, GOOD)
    loaded = load_manifest(tmp_path)
    assert loaded == load_manifest(file)
    assert loaded.digest == Digest.of(GOOD.encode())
    assert loaded.root == tmp_path
    assert loaded.manifest.app.name == "ai-inspection"
    assert loaded.manifest.model.profiles[0]["input"][2] == (32, 3, 416, 416)
    assert loaded.manifest.pipeline.score_threshold == 0.4
    assert loaded.manifest.precision.accuracy.golden == "golden/"


def test_missing_manifest_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(ManifestNotFound, match="enginecrate init NAME"):
        load_manifest(tmp_path)


def test_syntax_error_has_line_and_column():
    with pytest.raises(ManifestSyntax, match=r"enginecrate.toml: .*line 2, column"):
        parse_manifest(b"[app]\nname =\n", Path("enginecrate.toml"))


def test_not_utf8():
    with pytest.raises(ManifestSyntax, match="byte 6 is not UTF-8"):
        parse_manifest(b"[app]\n\xff", Path("enginecrate.toml"))


def test_every_fault_is_listed_at_once():
    text = GOOD.replace("name =", "nam =").replace('"detection"', '"detecton"')
    message = faults(text + "\n[serv]\nx = 1\n")
    assert "4 faults" in message
    assert "line 2, app.nam: unknown key; did you mean 'name'?" in message
    assert "line 1, app.name: is missing" in message
    assert 'for example: name = "ai-inspection"' in message
    assert "line 10, pipeline.task: must be one of" in message
    assert "did you mean 'detection'?" in message
    assert "line 23, serv: unknown key; did you mean 'serve'?" in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"1.2.0"', '"1.2"', "line 3, app.version: expected text of another form"),
        ('"1.2.0"', "1.2", "line 3, app.version: expected text, found a number"),
        ('"1.2.0"', r'"1.2.0\n"', "line 3, app.version: must be one line of text"),
        ('"1.2.0"', '"1.2.0"\nsummary = "a\\u0007b"', "line 4, app.summary: must be one line"),
        ('"ai-inspection"', '"AI Inspection"', "lower-case letters"),
        ('"models/detector.onnx"', '"../d.onnx"', "inside the project folder"),
        ('"models/labels.json"', '"/etc/passwd"', "line 11, pipeline.labels: '/etc/passwd'"),
        ("[8,3,416,416]", "[64,3,416,416]", "min <= opt <= max"),
        ("[8,3,416,416]", "[8,3,416]", "same length"),
        ("[8,3,416,416]", "[0,3,416,416]", ">= 1"),
        ('calibration = { images = "calibration/" }', "", "int8 needs photos"),
        ('decoder = "nanodet"', "", "pipeline.decoder: is missing"),
        ("[57.375, 57.12, 58.395]", "[57.375, 0.0, 58.395]", "none may be 0"),
        ("[57.375, 57.12, 58.395]", "[1.0]", "as many numbers as mean"),
        ('["ort-cpu"]', "[]", "targets.stacks"),
        ('images = "calibration/"', 'image = "calibration/"', "did you mean 'images'"),
        ('images = "calibration/"', 'images = "c/", method = "max"', "minmax, entropy"),
    ],
)
def test_one_fault(old: str, new: str, words: str):
    assert old in GOOD
    assert words in faults(GOOD.replace(old, new))


def test_missing_files_are_all_named(tmp_path: Path):
    loaded = load_manifest(write(tmp_path, GOOD))
    with pytest.raises(ManifestInvalid) as caught:
        check_files(loaded)
    for name in ("models/detector.onnx", "models/labels.json", "calibration/"):
        assert name in str(caught.value)


def test_the_published_schema_agrees_with_the_loader():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(tomllib.loads(GOOD))
    for broken in (GOOD.replace("name =", "nam ="), GOOD.replace('"1.2.0"', '"1.2"')):
        assert not validator.is_valid(tomllib.loads(broken))
        faults(broken)


def test_every_key_is_described():
    for name, table in json_schema()["$defs"].items():
        for key, value in table["properties"].items():
            options = [value, *value.get("anyOf", [])]
            assert any("description" in o or "$ref" in o for o in options), f"{name}.{key}"


DIGEST = "@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("", ""),
        (f"registry.example.com/jetpack{DIGEST}", ""),
        (f"registry.example.com/jetpack:6.2{DIGEST}", ""),
        (f"oci:vendor{DIGEST}", ""),
        (f"oci:../vendor:r36{DIGEST}", ""),
        ("registry.example.com/jetpack:6.2", "image show registry.example.com/jetpack:6.2"),
        ("registry.example.com/jetpack", "image show registry.example.com/jetpack:TAG"),
        ("oci:vendor", "'latest' is refused"),
        ("oci:vendor:latest", "oci:vendor@sha256:..."),
        ("oci:vendor:r36", "a tag alone is refused"),
        (f"oci:vendor:latest{DIGEST}", "'latest' is refused"),
        ("oci:vendor@sha256:12", "name it by its digest"),
        ("jetpack:6", "neither an image with its registry"),
        (f"vendor.tar{DIGEST}", "neither an image with its registry"),
    ],
)
def test_a_base_is_named_by_its_digest(base: str, words: str):
    fault = base_image_fault(base)
    assert words in fault
    assert bool(words) == bool(fault)


def test_a_constant_of_text_is_named_with_a_line_of_toml():
    constants = "constants = { sr = 16000, mode = 'fast' }\n\n[precision]"
    said = faults(GOOD.replace("[precision]", constants))
    assert "a number, true or false, or a list of these, found text" in said
    assert "constants = { scale_factor = [[1.0,1.0]] }" in said
