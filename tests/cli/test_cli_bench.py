"""`enginecrate bench`."""

import csv
import json
import re
import signal
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

from running import PROGRAM, serving


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


def test_tensors_over_v2_and_a_sweep_with_all_reports(
    run, proven: Path, cache_dir: Path, tmp_path: Path
):
    table, page = tmp_path / "runs.csv", tmp_path / "runs.html"
    with serving(proven, cache_dir) as server:
        words = ("--protocol", "v2-binary", "--requests", 8, "--warmup", 0)
        outcome = run(
            "bench", server.url, *words, "--connections", "1,3", "--json", "--csv", table,
            "--html", page,
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        runs = json.loads(outcome.out)["runs"]
        one = run("bench", server.url, "--protocol", "v2-json", "--duration", 0.3, "--rate", "40",
                  "--warmup", 0, "--json")  # fmt: skip
    assert [(one["connections"], one["requests"]) for one in runs] == [(1, 8), (3, 8)]
    assert {(one["reference"], one["wrong"], one["checked"]) for one in runs} == {
        ("alone", 0, True)
    }
    # Eight requests may be over before the first look at the server's own figures.
    assert all(0 <= one["server"]["requests"] <= 8 for one in runs)
    assert all(one["host"]["cores"] for one in runs)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["connections"], row["requests"]) for row in rows] == [("1", "8"), ("3", "8")]
    text = page.read_text()
    assert text.count("<polyline") == 4
    assert "Throughput over latency" in text
    assert not re.search(r"(src|href)=|url\(|<script|@import", text)
    single = json.loads(one.out)
    assert (single["mode"], single["rate"], single["arrivals"]) == ("open", 40.0, "poisson")
    assert single["requests"] > 0
    assert single["server"]["requests"] > 0


def test_an_objective(run, proven: Path, photos: Path, cache_dir: Path):
    with serving(proven, cache_dir) as server:
        words = ("bench", server.url, "--photo", photos / "red.png", "--duration", 0.2,
                 "--warmup", 0, "--connections", 16, "--json")  # fmt: skip
        outcome = run(*words, "--slo", "p50=1us")
        assert outcome.code == 1, outcome.err
    found = json.loads(outcome.out)
    assert (found["objective"], found["rate"]) == ("p50=0.001ms", 0.0)
    assert found["trials"]
    assert not any(held for _, held in found["trials"])


def test_ctrl_c_shows_what_was_measured(proven: Path, photos: Path, cache_dir: Path):
    with serving(proven, cache_dir) as server:
        process = subprocess.Popen(
            [PROGRAM, "bench", server.url, "--photo", photos / "red.png", "--duration", "600",
             "--warmup", "0", "--connections", "1,2", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        model = f"{server.url}/v2/models/stats"
        while not json.load(urlopen(model))["model_stats"][0]["inference_count"]:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert err == ""
    runs = json.loads(out)["runs"]
    assert [run["interrupted"] for run in runs] == [True]


def test_options_that_do_not_fit_together(run, tmp_path: Path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"x")
    for words, message in (
        (["--rate", "5", "--slo", "p99=1s"], "--rate and --slo exclude each other"),
        (["--requests", "5", "--until-stable", "9"], "exclude each other"),
        (["--rate", "5", "--connections", "1,2"], "one number of --connections"),
        (["--rate", "0"], "one number above 0"),
        (["--connections", "two"], "one number above 0"),
        (["--connections", "1.5"], "whole numbers"),
        (["--connections", "5000"], "from 1 to 4096"),
        (["--slo", "fast"], "for example p99=50ms"),
        (["--model", "x"], "--model: only with --protocol"),
        (["--protocol", "v2-json", "--photo", photo], "--tensors FILE.npz"),
        (["--protocol", "v2-json", "--shape", "x"], "such as x:1,3,224,224"),
    ):
        outcome = run("bench", "http://127.0.0.1:1", *words)
        assert outcome.code not in (0, 70), words
        assert message in outcome.err, words
