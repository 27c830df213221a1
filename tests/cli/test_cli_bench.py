"""`enginecrate bench`."""

import json
from pathlib import Path

import pytest

from running import serving


@pytest.fixture
def proven(run, project: Path, photos: Path) -> Path:
    """A project with golden samples."""
    outcome = run("golden", "record", *sorted(photos.iterdir()), "--project", project)
    assert outcome.code == 0, outcome.err
    return project


def test_a_server_of_its_own_with_the_golden_samples(program, proven: Path):
    outcome = program(
        "--bench",
        "--project",
        proven,
        "--requests",
        30,
        "--warmup",
        0,
        "--connections",
        3,
        "--json",
    )
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["requests"], found["errors"], found["wrong"]) == (30, {}, 0)
    assert found["checked"]
    latency = found["latency_ms"]
    ordered = [latency[name] for name in ("minimum", "p50", "p90", "p95", "p99", "maximum")]
    assert ordered == sorted(ordered)
    # Seconds are rounded to milliseconds.
    assert 30 / found["throughput"] == pytest.approx(found["seconds"], abs=0.001)


def test_a_running_server_and_answers_that_are_wrong(
    run, proven: Path, photos: Path, cache_dir: Path
):
    with serving(proven, cache_dir) as server:
        good = run("bench", server.url, "--project", proven, "--requests", 6, "--warmup", 0)
        assert good.code == 0, good.err
        assert "all right" in good.out
        assert "p99" in good.out
        file = proven / "golden" / "golden.json"
        file.write_text(file.read_text().replace('"red"', '"pink"'))
        bad = run("bench", server.url, "--project", proven, "--requests", 6, "--warmup", 0)
        assert bad.code == 1
        assert "6 wrong" in bad.out
        unchecked = run("bench", server.url, "--photo", photos / "red.png", "--requests", 3)
        assert unchecked.code == 0
        assert "1 different ones; not compared" in unchecked.out
    gone = run("bench", server.url, "--photo", photos / "red.png", "--requests", 2, "--warmup", 0)
    assert gone.code == 1
    assert "2 x " in gone.out


def test_mistakes_are_explained(run, project: Path, photos: Path, tmp_path: Path):
    for words, message in (
        (["--project", project], "no golden samples"),
        (["--project", tmp_path], "no manifest at"),
        (["ftp://host", "--photo", photos / "red.png"], "is no HTTP address"),
        (["http://host", "--photo", tmp_path / "none.png"], "cannot read"),
        (["--connections", "0"], "--connections"),
    ):
        outcome = run("bench", *words)
        assert outcome.code not in (0, 70), words
        assert message in outcome.err


def test_a_server_that_does_not_start_says_why(run, proven: Path):
    (proven / "enginecrate.toml").write_text(
        (proven / "enginecrate.toml").read_text().replace("colours.onnx", "none.onnx")
    )
    outcome = run("bench", "--project", proven, "--requests", 1)
    assert outcome.code not in (0, 70)
    # It is asked for its state until it ends, so either may be noticed first.
    assert "none.onnx" in outcome.err
    assert "the server ended while it started" in outcome.err or "never be ready" in outcome.err


def test_a_server_that_is_never_ready_is_not_measured(run, proven: Path):
    manifest = proven / "enginecrate.toml"
    stacks = manifest.read_text().replace('"ort-cpu"', '"ort-cuda130"')
    assert "cuda130" in stacks
    manifest.write_text(stacks)
    outcome = run("bench", "--project", proven, "--requests", 1)
    assert outcome.code not in (0, 70)
    assert "ENGINECRATE_MINIMUM_ENGINE=cpu" in outcome.err
