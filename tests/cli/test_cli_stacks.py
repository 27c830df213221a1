import json

import pytest


def test_the_table_names_every_stack(run):
    outcome = run("stacks")
    assert outcome.code == 0
    for name in ("ort-cpu", "trt86-cuda122", "trtrtx17-cuda130", "trt103-jetpack62"):
        assert name in outcome.out


def test_filters_say_why_a_stack_is_left_out(run):
    outcome = run("stacks", "--gpu", "L4", "--driver", "550.54.14")
    lines = outcome.out.splitlines()
    left_out = {line.split()[2].rstrip(":"): line for line in lines if line.startswith("left out")}
    assert outcome.code == 0
    assert "580.65.06" in left_out["trt114-cuda130"]
    assert "8.9" in left_out["trt103-jetpack62"]
    assert "ort-cpu" not in left_out
    assert "trt86-cuda122" not in left_out


def test_scripts_get_answers_with_their_cures(run):
    outcome = run("stacks", "--gpu", "H200", "--json")
    stacks = {stack["name"]: stack for stack in json.loads(outcome.out)["stacks"]}
    assert stacks["ort-cuda130"]["compatibility"] == {"ok": True, "reasons": [], "notes": []}
    reason = stacks["trtrtx17-cuda130"]["compatibility"]["reasons"][0]
    assert (reason["rule"], bool(reason["cure"])) == ("compute_capability", True)
    assert stacks["ort-cpu"]["digest"].startswith("sha256:")
    assert "compatibility" not in json.loads(run("stacks", "ort-cpu", "--json").out)


def test_one_stack_is_shown_with_its_sources(run):
    outcome = run("stacks", "trt86-cuda122", "--driver", "525.60.13")
    for words in ("tensorrt==8.6.1", "12.1 update 1", "not verified", "https://docs.nvidia.com/"):
        assert words in outcome.out


def test_gpus(run):
    outcome = run("stacks", "--gpus", "--json")
    gpus = {gpu["name"]: gpu for gpu in json.loads(outcome.out)["gpus"]}
    assert gpus["A100"]["compute_capability"] == [8, 0]
    assert "trt86-cuda122" in gpus["V100"]["stacks"]
    assert "ort-cuda130" not in gpus["V100"]["stacks"]
    assert "RTX A6000" in run("stacks", "--gpus", "--gpu", "8.6").out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ort-cup"], 3, "did you mean 'ort-cpu'"),
        (["--gpu", "L44"], 3, "did you mean 'L4'"),
        (["--driver", "new"], 2, "550.54.14"),
    ],
)
def test_mistakes(run, arguments: list[str], code: int, words: str):
    outcome = run("stacks", *arguments)
    assert outcome.code == code
    assert words in outcome.err
