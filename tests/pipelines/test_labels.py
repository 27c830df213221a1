from pathlib import Path

import pytest

from enginecrate.errors import LabelsInvalid
from enginecrate.pipelines.labels import class_name, load_labels

SAMPLES = Path(__file__).parents[2] / "samples"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '["cat", " dog "]'),
        ("a.txt", "cat\ndog\n"),
        ("a.txt", "cat\r\ndog\r\n\n\n"),
        ("a.names", "\ufeffcat\ndog"),
        ("a.txt", '["cat", "dog"]'),
    ],
)
def test_forms(tmp_path: Path, name: str, content: str):
    assert load_labels(write(tmp_path, name, content)) == ["cat", "dog"]


def test_names_of_any_script(tmp_path: Path):
    assert load_labels(write(tmp_path, "a.txt", "猫\nÉcureuil\n")) == ["猫", "Écureuil"]


def test_samples():
    assert len(load_labels(SAMPLES / "classification" / "models" / "imagenet.json")) == 1000
    assert load_labels(SAMPLES / "detection" / "models" / "coco80.json")[0] == "person"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", '{"0": "cat"}', "must hold a list .* found an object"),
        ("a.json", '["cat", 1]', "entry 1 must be a class name, found 1"),
        ("a.json", '["cat", " "]', "entry 1 must be a class name"),
        ("a.json", '["cat"', "not valid JSON"),
        ("a.json", "[]", "holds no labels"),
        ("a.txt", "", "holds no labels"),
        ("a.txt", "cat\n\ndog\n", "line 2 is empty"),
        ("a.txt", b"caf\xe9", "byte 3 is not UTF-8"),
    ],
)
def test_faults(tmp_path: Path, name: str, content: str | bytes, words: str):
    path = write(tmp_path, name, content)
    with pytest.raises(LabelsInvalid, match=words) as raised:
        load_labels(path)
    assert str(path) in str(raised.value)


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(LabelsInvalid, match=r"No such file .* correct \[pipeline\] labels"):
        load_labels(tmp_path / "none.json")


def test_class_name():
    assert class_name(["cat", "dog"], 1) == "dog"
    assert class_name([], 1) == "class 1"
