"""`init --model`: what it asks, what it refuses, and what it changes in a project."""

import json
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from enginecrate.builder.scaffold.from_model import create_from_model
from enginecrate.builder.scaffold.guess.guesses import Answers, Guess
from enginecrate.cli.project import questions
from enginecrate.manifest import check_files, load_manifest
from tiny_models import color_classifier, constant, model, save, value


def pooled(
    end: str = "Softmax",
    shape: list[int | str] = [1, 3, 16, 16],  # noqa: B006
    metadata: dict[str, str] | None = None,
) -> Path:
    """The channels' means through an operator: three classes."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["z"]),
        helper.make_node(end, ["z"], ["y"]),
    ]
    weights = constant("w", 2 * np.eye(3, dtype=np.float32))
    proto = model(nodes, [value("image", shape)], [value("y", [shape[0], 3])], [weights])
    helper.set_model_props(proto, metadata or {})
    return save(proto, Path("model.onnx"))


OPEN = [1, 3, "height", "width"]


def pipeline(folder: str = "x") -> dict[str, object]:
    return dict(tomllib.loads(Path(folder, "enginecrate.toml").read_text())["pipeline"])


def test_a_script_is_told_the_option_and_nothing_is_written(run):
    outcome = run("init", "x", "--model", pooled(shape=OPEN))
    assert outcome.code == 2
    assert "size: the model leaves height and width open" in outcome.err
    assert "--size HEIGHTxWIDTH" in outcome.err
    assert not Path("x").exists()
    outcome = run("init", "x", "--model", "model.onnx", "--size", "32x48")
    assert outcome.code == 0, outcome.err
    assert pipeline()["size"] == [32, 48]


def test_every_option_is_an_answer(run):
    outcome = run(
        "init", "x", "--model", pooled("Elu"), "--task", "classification",
        "--activation", "sigmoid", "--color", "bgr", "--layout", "nchw",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert pipeline()["activation"] == "sigmoid"
    assert pipeline()["color"] == "bgr"


@pytest.mark.parametrize(
    ("flag", "text"),
    [("--size", "big"), ("--size", "0x4"), ("--constant", "x"), ("--constant", "x=[1,")],
)
def test_answers_that_cannot_be_read(run, flag: str, text: str):
    outcome = run("init", "x", "--model", pooled(), flag, text)
    assert outcome.code == 2
    assert flag in outcome.err


def test_a_decoder_may_be_named(run):
    """It must exist, and read the outputs."""
    outcome = run("init", "x", "--model", pooled(), "--decoder", "yolo")
    assert outcome.code == 2
    assert "the decoder 'yolo' expects" in outcome.err
    outcome = run("init", "x", "--model", pooled(), "--decoder", "yolov8")
    assert outcome.code == 2
    assert 'decoder = "yolo"' in outcome.err
    assert not Path("x").exists()


def test_answers_need_a_model(run):
    outcome = run("init", "x", "--size", "4x4")
    assert outcome.code == 2
    assert "--model" in outcome.err


def test_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    said = iter(["huge", "32x32"])
    monkeypatch.setattr(questions.typer, "prompt", lambda *_, **__: next(said))
    project = create_from_model(
        Path("x"), "x", pooled(shape=OPEN), ask=questions.ask
    )  # fmt: skip
    assert project.spec.size == (32, 32)
    assert "'huge' is no size" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("guess", "said", "answers"),
    [
        (Guess("task", "image", "", "unknown"), "Image", Answers(task="image")),
        (Guess("activation", "none", "", "unknown"), "none", Answers(activation="none")),
        (Guess("decoder_options", {}, "", "unknown"), "sigmoid", Answers(activation="sigmoid")),
        (
            Guess("decoder_options", {}, "", "unknown", flag="--labels FILE"), 3,
            Answers(labels=3),
        ),
        (
            Guess("constants", {"t": [0.0]}, "", "unknown", flag="--constant t=VALUE"), "[0.5]",
            Answers(constants={"t": [0.5]}),
        ),
    ],
)  # fmt: skip
def test_questions(monkeypatch: pytest.MonkeyPatch, guess: Guess, said: object, answers: Answers):
    monkeypatch.setattr(questions.typer, "prompt", lambda *_, **__: said)
    assert questions.ask(guess, Answers()) == answers


def test_json_shows_each_guess_with_its_certainty(run):
    outcome = run("init", "x", "--model", pooled(), "--json")
    shown = json.loads(outcome.out)
    guesses = {guess["key"]: guess for guess in shown["guesses"]}
    assert guesses["activation"]["value"] == "none"
    assert guesses["activation"]["certainty"] == "sure"
    assert "Softmax" in guesses["activation"]["reason"]
    assert guesses["mean"]["certainty"] == "likely"
    assert shown["ran"] == ["astronaut.jpg", "chelsea.jpg"]


def test_json_shows_the_guesses_of_what_was_refused(run):
    outcome = run("init", "x", "--model", pooled(shape=OPEN), "--json")
    assert outcome.code == 2
    shown = json.loads(outcome.out)
    assert shown["error"]["code"] == "EC1004"
    found = {guess["key"]: guess["certainty"] for guess in shown["guesses"]}
    assert (found["size"], found["activation"]) == ("unknown", "sure")
    assert run("init", "x", "--model", "model.onnx", "--size", "16x16").code == 0
    arguments = ("--size", "16x16", "--color", "bgr", "--json")
    outcome = run("init", "x", "--model", "model.onnx", *arguments)
    assert '+color = "bgr"' in json.loads(outcome.out)["changes"]


def test_the_manifest_has_the_alternatives_in_comments(run):
    assert run("init", "x", "--model", pooled()).code == 0
    text = Path("x/enginecrate.toml").read_text()
    assert 'activation = "none"' in text
    assert '"sigmoid" (several classes may be true at once)' in text
    assert "[127.5, 127.5, 127.5] (-1..1)" in text
    assert "(likely)" in text
    assert "(sure)" in text
    check_files(load_manifest(Path("x")))


def test_names_in_a_model_cannot_break_the_manifest(run):
    proto = onnx.load(pooled())
    proto.graph.output[0].name = proto.graph.node[-1].output[0] = "y\n[serve]\ninstances = 64"
    save(proto, Path("model.onnx"))
    assert run("init", "x", "--model", "model.onnx").code == 0
    assert load_manifest(Path("x")).manifest.serve.instances == 1


def test_class_names_in_the_model_become_labels(run):
    names = "{0: 'red', 1: 'green', 2: \"blue's\"}"
    assert run("init", "x", "--model", pooled(metadata={"names": names})).code == 0
    assert pipeline()["labels"] == "models/labels.json"
    assert json.loads(Path("x/models/labels.json").read_text()) == ["red", "green", "blue's"]
    check_files(load_manifest(Path("x")))


def test_a_labels_file_wins_over_the_model(run):
    Path("mine.txt").write_text("a\nb\nc\n")
    path = pooled(metadata={"names": "['red', 'green', 'blue']"})
    assert run("init", "x", "--model", path, "--labels", "mine.txt").code == 0
    assert pipeline()["labels"] == "models/labels-mine.txt"


def test_an_app_whose_answers_are_errors_is_not_written(run):
    """A width that the model's last layer does not take."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["y"]),
    ]
    weights = constant("w", np.zeros((3 * 16 * 16, 3), np.float32))
    proto = model(nodes, [value("image", OPEN)], [value("y", [1, 3])], [weights])
    path = save(proto, Path("model.onnx"))
    outcome = run("init", "x", "--model", path, "--size", "32x32", "--task", "classification")
    assert outcome.code != 0
    assert "astronaut.jpg" in outcome.err
    assert not Path("x").exists()
    outcome = run("init", "x", "--model", path, "--size", "32x32", "--untried")
    assert outcome.code == 0, outcome.err
    assert "It ran here" not in outcome.out


def test_a_model_that_cannot_run_here_says_so(run):
    node = helper.make_node("Mystery", ["image"], ["y"], domain="com.example")
    proto = model(
        [node], [value("image", [1, 3, 8, 8])], [value("y", [1, 3])], domains=["com.example"]
    )
    path = save(proto, Path("model.onnx"))
    outcome = run("init", "x", "--model", path, "--task", "classification", "--activation", "none")
    assert outcome.code == 1
    assert "--untried" in outcome.err
    arguments = ("--task", "classification", "--activation", "none", "--untried")
    outcome = run("init", "x", "--model", path, *arguments)
    assert outcome.code == 0, outcome.err
    assert "did not run here" in outcome.out


def test_a_project_is_shown_its_changes(run):
    assert run("init", "x", "--model", pooled()).code == 0
    before = Path("x/enginecrate.toml").read_bytes()
    outcome = run("init", "x", "--model", "model.onnx", "--color", "bgr")
    assert outcome.code == 4
    assert '-color = "rgb"' in outcome.out
    assert '+color = "bgr"' in outcome.out
    assert "--force" in outcome.err
    assert Path("x/enginecrate.toml").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["model.onnx", "x"]


def test_force_replaces_the_manifest_and_keeps_the_rest(run):
    assert run("init", "x", "--model", pooled()).code == 0
    Path("x/golden/golden.json").write_text("mine")
    Path("x/notes.txt").write_text("mine")
    save(color_classifier(), Path("model.onnx"))
    outcome = run("init", "x", "--model", "model.onnx", "--color", "bgr", "--force")
    assert outcome.code == 0, outcome.err
    assert pipeline()["color"] == "bgr"
    assert Path("x/notes.txt").read_text() == Path("x/golden/golden.json").read_text() == "mine"
    assert Path("x/models/model.onnx").read_bytes() == Path("model.onnx").read_bytes()
    assert sorted(path.name for path in Path().iterdir()) == ["model.onnx", "x"]


def test_force_needs_a_project(run):
    Path("x").mkdir()
    Path("x/notes.txt").write_text("mine")
    assert run("init", "x", "--force").code == 4
    assert [path.name for path in Path("x").iterdir()] == ["notes.txt"]


def test_a_sample_over_a_project_keeps_its_files(run):
    assert run("init", "x", "--sample", "classification").code == 0
    photo = Path("x/photos/flower.jpg")
    photo.write_bytes(b"mine")
    assert run("init", "x", "--sample", "detection").code == 4
    assert run("init", "x", "--sample", "detection", "--force").code == 0
    assert load_manifest(Path("x")).manifest.pipeline.task == "detection"
    assert photo.read_bytes() == b"mine"
    check_files(load_manifest(Path("x")))
