"""`predict` here and on a server, `golden`, and `serve`: with a tiny model and real processes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

PROGRAM = Path(sys.executable).with_name("enginecrate")
COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def server(colours: Path, cache_dir: Path) -> Iterator[str]:
    """The URL of a server that is ready."""
    process, url = start(colours, cache_dir)
    try:
        wait_until(lambda: httpx.get(f"{url}/v2/health/ready", trust_env=False).is_success)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def start(project: Path, cache_dir: Path) -> tuple[subprocess.Popen, str]:
    flags = ["--project", project, "--cache-dir", cache_dir, "--http-port", "0", "--json"]
    process = subprocess.Popen(
        [PROGRAM, "serve", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    announced = "".join(iter(process.stdout.readline, "}\n")) + "}"
    process.stdout.close()
    return process, json.loads(announced)["url"]


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


def test_predict_prints_a_table(run, project: Path, photos: Path):
    outcome = run("predict", *(photos / f"{name}.png" for name in COLOURS), "--project", project)
    assert outcome.code == 0
    assert outcome.err == ""
    assert "red.png" in outcome.out
    assert "score" in outcome.out


def test_a_server_answers_what_this_process_answers(run, server: str, project: Path, photos: Path):
    files = [photos / f"{name}.png" for name in COLOURS]
    here = run("predict", *files, "--project", project, "--json")
    there = run("predict", *files, "--url", server, "--json")
    assert here.code == there.code == 0
    results = json.loads(here.out)["results"]
    assert results == json.loads(there.out)["results"]
    assert [result["input"] for result in results] == [str(file) for file in files]
    assert [result["classes"][0]["label"] for result in results] == list(COLOURS)


def test_a_server_refuses_in_its_own_words(run, server: str, tmp_path: Path):
    (tmp_path / "words.txt").write_text("not a photo")
    outcome = run("predict", tmp_path / "words.txt", "--url", server, "--json")
    assert outcome.code == 2
    message = json.loads(outcome.out)["error"]["message"]
    assert "/v1/predict refuses with 4" in message
    assert "JPEG" in message


def test_the_result_is_drawn_on_the_photo(run, project: Path, photos: Path, tmp_path: Path):
    photo = tmp_path / "large.png"
    Image.open(photos / "red.png").resize((200, 100)).save(photo)
    out = tmp_path / "drawn.png"
    outcome = run("predict", photo, "--project", project, "--annotate", out)
    assert outcome.code == 0
    assert str(out) in outcome.err
    drawn = np.asarray(Image.open(out).convert("RGB"))
    assert drawn.shape[1] == 2 * drawn.shape[0]
    assert (drawn != (255, 0, 0)).any()


def test_an_app_without_a_pipeline_takes_arrays(run, tiny_model: Path, tmp_path: Path):
    assert run("init", "raw", "--model", tiny_model, "--task", "tensors").code == 0
    np.savez(tmp_path / "in.npz", image=np.full((1, 3, 8, 8), 2, np.float32))
    outcome = run("predict", tmp_path / "in.npz", "--project", "raw", "--json")
    assert outcome.code == 0, outcome
    (tensor,) = json.loads(outcome.out)["results"][0]["outputs"]
    assert (tensor["name"], tensor["shape"]) == ("logits", [1, 3])
    np.testing.assert_allclose(tensor["data"], 0.2, rtol=1e-6)
    table = run("predict", tmp_path / "in.npz", "--project", "raw").out
    assert "FP32 [1,3]: 0.2, 0.2, 0.2" in table


def test_golden_samples_are_recorded_and_checked(run, project: Path, photos: Path):
    recorded = run("golden", "record", photos / "red.png", photos / "blue.png", "-p", project)
    assert recorded.code == 0
    assert "red.png" in recorded.out
    golden = project / "golden" / "golden.json"
    assert str(golden.parent) in recorded.err

    checked = run("golden", "check", "-p", project, "--json")
    assert checked.code == 0
    assert json.loads(checked.out) == {
        "passed": True,
        "outcomes": [
            {"name": "red.png", "passed": True, "reasons": []},
            {"name": "blue.png", "passed": True, "reasons": []},
        ],
    }

    golden.write_text(golden.read_text().replace('"red"', '"crimson"', 1))
    checked = run("golden", "check", "-p", project)
    assert checked.code == 1
    assert "fail  red.png" in checked.out
    assert "ok    blue.png" in checked.out


def test_recording_speaks_json(run, project: Path, photos: Path):
    outcome = run("golden", "record", photos / "green.png", "-p", project, "--json")
    (sample,) = json.loads(outcome.out)["samples"]
    assert sample["input"] == "green.png"
    assert sample["classes"][0]["label"] == "green"


def test_the_healthcheck_asks_the_server(program, server: str):
    port = server.rpartition(":")[2]
    healthy = program("--healthcheck", ENGINECRATE_HTTP_PORT=port)
    assert (healthy.code, healthy.out, healthy.err) == (0, "", "")
    assert program("--healthcheck", ENGINECRATE_HTTP_PORT="1").code == 1


def test_people_are_told_the_addresses(project: Path):
    process = subprocess.Popen(
        [PROGRAM, "serve", "--project", project, "--http-port", "0", "--log-format", "text"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "/v1/predict" in line:
            break
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    told = "".join(lines)
    assert "dashboard  http://127.0.0.1:" in told
    assert "/docs\n" in told
    assert "curl" in told


def test_every_setting_has_its_flag(run):
    from enginecrate.settings import SETTINGS

    page = " ".join(run("serve", "--help").out.split())
    for setting in SETTINGS:
        assert f" {setting.flag} " in page
        assert setting.environment in page
