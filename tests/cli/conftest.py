import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from enginecrate.builder.scaffold.from_model import create_from_model
from enginecrate.cli.main import main

PROGRAM = Path(sys.executable).with_name("enginecrate")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One plan cache for all tests: what it holds is named by its content."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache_dir: Path) -> None:
    """No test reads the developer's own settings, or writes outside of its folder."""
    for name in [name for name in os.environ if name.startswith("ENGINECRATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ENGINECRATE_CACHE_DIR", str(cache_dir))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the program inside of this process."""

    def run_main(*arguments: object) -> Outcome:
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capfd.readouterr())

    return run_main


@pytest.fixture
def program() -> Callable[..., Outcome]:
    """Run the installed program in a process of its own."""

    def run_program(*arguments: object, **environment: str) -> Outcome:
        done = subprocess.run(
            [PROGRAM, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **environment},
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run_program


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of 8x8 pictures: red, green or blue. Tiny, but right."""
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32) * 0.1, "weights")
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("models") / "colours.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `red.png`, `green.png` and `blue.png`."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("red", "green", "blue"):
        Image.new("RGB", (20, 10), name).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A project around the tiny classifier, without golden samples. Not to be changed."""
    folder = tmp_path_factory.mktemp("projects")
    labels = folder / "colours.txt"
    labels.write_text("red\ngreen\nblue\n")
    create_from_model(folder / "colours", "colours", tiny_model, labels=labels)
    return folder / "colours"


@pytest.fixture
def project(colours: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(colours, tmp_path / "colours"))
