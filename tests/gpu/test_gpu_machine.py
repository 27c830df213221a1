"""The doctor, the compatibility rules and the ladder on a real driver and GPU."""

import json
import shutil
import time
from pathlib import Path

import msgspec
import pytest
from gpu_plans import plan_of
from server_process import Launcher

from enginecrate.builder.ladder.rungs import machine_facts, rungs
from enginecrate.cuda.device import Gpu
from enginecrate.engines.cache.plans import PlanStore
from enginecrate.graph.onnx.model import read_model
from enginecrate.manifest import load_manifest
from enginecrate.settings import load_settings
from enginecrate.stacks.catalog import get_stack
from enginecrate.stacks.compatibility import check
from enginecrate.stacks.doctor import examine
from enginecrate.stacks.machine.devices import probe_gpus, probe_nvidia
from enginecrate.stacks.machine.machine import probe_machine
from enginecrate.values import Precision
from running import SAMPLES
from tiny_models import save, wordy_linear

STACK = "ort-cuda130"


def test_the_doctor_sees_the_driver_and_the_gpu(gpu: Gpu, tmp_path: Path):
    flags = {"cache_dir": str(tmp_path), "http_port": 0}
    findings = examine(probe_machine(load_settings(environment={}, flags=flags), 2))
    words = json.dumps([msgspec.to_builtins(one) for one in findings])
    assert gpu.name in words
    assert str(gpu.compute_capability) in words
    assert probe_nvidia().driver in words
    failed = [one for one in findings if one.status == "fail"]
    about_gpus = [
        one for one in failed if "gpu" in str(one).lower() or "driver" in str(one).lower()
    ]
    assert about_gpus == []


def test_both_ways_of_asking_find_the_same_gpu(gpu: Gpu):
    found = probe_gpus()[0]
    assert (found.name, found.compute_capability) == (gpu.name, gpu.compute_capability)
    assert abs(found.memory_bytes - gpu.memory_bytes) < 0.05 * gpu.memory_bytes


def test_the_rules_know_this_gpu(tmp_path: Path, store: PlanStore):
    plan = plan_of(read_model(save(wordy_linear(), tmp_path / "m.onnx")), Precision.FP32, store)
    found, driver, stack = probe_gpus()[0], probe_nvidia().driver, get_stack(STACK)
    fits = check(plan.info, found, driver, stack)
    assert fits.ok, str(fits)
    old = check(plan.info, found, "470.82.01", stack)
    assert [reason.rule for reason in old.reasons] == ["driver"]
    elsewhere = msgspec.structs.replace(
        plan.info, device="sm75", backend="tensorrt_rtx", stack="trtrtx17-cuda130"
    )
    refused = check(elsewhere, found, driver, get_stack("trtrtx17-cuda130"))
    assert not refused.ok


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The detection sample in FP16 on the stack for GPUs."""
    folder = tmp_path / "project"
    shutil.copytree(SAMPLES / "detection", folder)
    manifest = folder / "enginecrate.toml"
    text = manifest.read_text()
    text = text.replace('mode = "fp32"', 'mode = "fp16"')
    manifest.write_text(text.replace('stacks = ["ort-cpu"]', f'stacks = ["{STACK}", "ort-cpu"]'))
    return folder


def test_the_ladder_starts_on_the_gpu(project: Path):
    stack = get_stack(STACK)
    ladder = rungs(load_manifest(project).manifest, stack, machine_facts([stack]))
    assert [(one.device, one.precision) for one in ladder.targets] == [
        ("cuda", Precision.FP16),
        ("cuda", Precision.FP32),
    ]


def test_the_server_climbs_to_the_best_engine_on_the_gpu(project: Path, tmp_path: Path):
    photo = (SAMPLES / "detection/photos/china.jpg").read_bytes()
    launcher = Launcher(tmp_path)
    try:
        server = launcher(project, stack=STACK, log_format="json")
        seen = []
        with server.client() as client:
            until = time.monotonic() + 120
            while time.monotonic() < until:
                answer = client.post(
                    "/v1/predict", content=photo, headers={"content-type": "image/jpeg"}
                )
                assert answer.status_code == 200, answer.text
                engine = answer.json()["engine"]
                assert (engine["backend"], engine["device"]) == ("onnxruntime", "cuda")
                if engine["precision"] not in seen:
                    seen.append(engine["precision"])
                if seen[-1] in ("fp16", "mixed"):
                    break
        assert seen[-1] in ("fp16", "mixed"), seen
    finally:
        launcher.close()
