import os
from pathlib import Path

import pytest

from enginecrate.errors import LabelsInvalid
from enginecrate.pipelines.label_check import check_labels
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
        ("a.json", '{"a": "cat"}', "must hold a list .* found an object"),
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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "0 cat\n1 dog\n"),
        ("a.txt", "1: cat\n2: dog\n"),
        ("a.txt", "0,cat\n1,dog\n"),
        ("a.txt", "0. cat\n1. dog\n"),
        ("a.txt", "cat 0\ndog 1\n"),
        ("a.txt", "1 dog\n0 cat\n"),
        ("a.txt", "cat;dog\n"),
        ("a.txt", "cat;dog;"),
        ("a.txt", "cat, dog\n"),
        ("a.txt", "'cat',\n'dog'\n"),
        ("a.txt", "['cat', 'dog']"),
        ("a.txt", "{0: 'cat', 1: 'dog'}"),
        ("a.txt", "cat\rdog\r"),
        ("a.txt", "cat\ndog\n".encode("utf-16")),
        ("a.txt", "cat\ndog\n".encode("utf-32")),
        ("a.json", b'\xef\xbb\xbf["cat", "dog"]'),
        ("a.json", '{"0": "cat", "1": "dog"}'),
        ("a.json", '{"1": "dog", "0": "cat"}'),
        ("a.json", '{"cat": 0, "dog": 1}'),
        ("a.json", '{"architectures": ["X"], "id2label": {"0": "cat", "1": "dog"}}'),
        ("a.json", '{"0": ["n01", "cat"], "1": ["n02", "dog"]}'),
        ("a.json", '{"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}'),
        ("a.yaml", 'path: ../x\nnc: 2\nnames: ["cat", dog]  # two\n'),
        ("a.yaml", "names: [cat,\n  'dog']\nnc: 2\n"),
        ("a.yaml", "names: {0: cat, 1: dog}\n"),
        ("a.yaml", "names:\n  0: cat # small\n\n  1: 'dog'\nnc: 2\n"),
        ("a.yaml", "names:\n- cat\n- dog\ntrain: x\n"),
        ("a.txt", "names:\n  0: cat\n  1: dog\n"),
        ("a.csv", "id,name\n0,cat\n1,dog\n"),
        ("a.csv", "name,id\ndog,1\ncat,0\n"),
        ("a.csv", "0;cat\n1;dog\n"),
        ("a.csv", "name\ncat\ndog\n"),
        ("a.tsv", "0\tcat\n1\tdog\n"),
    ],
)
def test_forms_of_other_tools(tmp_path: Path, name: str, content: str | bytes):
    assert load_labels(write(tmp_path, name, content)) == ["cat", "dog"]


@pytest.mark.parametrize(
    "labels",
    [
        [str(digit) for digit in range(10)],
        ["1 euro", "2 euro"],
        ["1 cent", "2 cent", "5 cent", "1 euro", "2 euro"],
        ["1 finger", "2 fingers", "3 fingers"],
        ["class 0", "class 1"],
        ["3D printer", "2D plotter"],
        ["747", "737"],
        ["4 seasons"],
        ["[background]", "cat"],
        ["a\u2028b", "c"],
        ["tench, Tinca tinca", "goldfish, Carassius auratus"],
        ["N/A", "cat", "N/A"],
    ],
)
def test_names_with_numbers_and_marks_stay(tmp_path: Path, labels: list[str]):
    assert load_labels(write(tmp_path, "a.txt", "\n".join(labels))) == labels


def test_a_list_in_json_is_literal(tmp_path: Path):
    assert load_labels(write(tmp_path, "a.json", '["0 cat", "1 dog"]')) == ["0 cat", "1 dog"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "1 cat\n2 dog\n4 cow\n", "looks like numbered lines.*3 missing"),
        ("a.txt", "0 cat\n1 dog\n2 cow\nhen\n", "looks like numbered lines, but line 4, 'hen'"),
        ("a.txt", "0 cat\n1 cat\n2 dog\n", "looks like numbered lines, but 'cat'"),
        ("a.txt", '["cat", "dog"', "not valid JSON"),
        ("a.txt", "item {\n  id: 1\n}\n", "looks like a label map of TensorFlow"),
        ("a.txt", "classes = 2\nnames = data/coco.names\n", "looks like a darknet .data file"),
        ("a.txt", "<html>", "looks like XML or HTML"),
        ("a.txt", "cat\n\x1b[31mdog\n", "control characters"),
        ("a.txt", "a\n\nb\n\nc\n", "lines 2, 4 are empty"),
        ("a.yaml", "names:\n  0: cat\n  2: dog\n", "looks like YAML.*1 is missing"),
        ("a.yaml", "train: x\n", "looks like YAML.*no 'names'"),
        ("a.yaml", "names: *anchor\n", "looks like YAML"),
        ("a.csv", "/m/01,cat\n/m/02,dog\n", "looks like a table with 2 columns"),
        ("a.csv", "id,name\n1,cat\n3,dog\n", "2 is missing"),
        ("a.json", '{"0": "cat", "2": "dog"}', "1 is missing"),
        ("a.txt", "\u884c\u4eba\n\u6c7d\u8f66\n".encode("gbk"), "looks like GBK.*as UTF-8"),
        ("a.txt", b"caf\xe9\n", "looks like Windows-1252"),
        ("a.txt", "cat\ndog\n".encode("utf-16-le"), "looks like UTF-16 without its mark"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, name: str, content: str | bytes, words: str):
    with pytest.raises(LabelsInvalid, match=words):
        load_labels(write(tmp_path, name, content))


def test_a_pipe_and_a_large_file_are_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LabelsInvalid, match="is not a file"):
        load_labels(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(LabelsInvalid, match="more than 16 MiB"):
        load_labels(tmp_path / "large")


def test_duplicates_and_the_order_of_the_model():
    with pytest.raises(LabelsInvalid, match="'cat' names the classes 0 and 1"):
        check_labels(["cat", "cat", "dog"], [], "l.txt")
    assert check_labels(["cat", "cat"], ["cat", "cat"], "l.txt") == []
    assert check_labels(["Traffic Light", "cat"], ["traffic_light", "cat"], "l.txt") == []
    with pytest.raises(LabelsInvalid, match=r"(?s)another order.*\n.*0 +cat +dog\n +1 +dog +cat"):
        check_labels(["cat", "dog", "cow"], ["dog", "cat", "cow"], "l.txt")
    (warning,) = check_labels(["chat", "dog"], ["cat", "dog"], "l.txt")
    assert "other names than the model" in warning
    assert "chat" in warning
    assert "cat" in warning
    (warning,) = check_labels(["cat"], ["cat", "dog"], "l.txt")
    assert "1 classes, and the model's metadata 2" in warning
    (warning,) = check_labels([], ["cat", "dog"], "l.txt")
    assert "[pipeline] labels is not set" in warning
