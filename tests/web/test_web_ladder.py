"""The dashboard while the engine ladder is climbed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Page, expect

from climbing import StepSpec, climbing, make_plan, open_gate, opened
from doubler_project import tensors_project
from enginecrate.graph.typed import TypedGraph
from enginecrate.values import Precision


def test_the_ladder_is_shown_as_it_is_climbed(page: Page, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    project, settings = opened(tensors_project(tmp_path / "doubler"), tmp_path / "cache")
    steps = []
    for precision in ("int8", "fp16", "fp32"):
        plan = make_plan(project, TypedGraph(project.model, Precision(precision), ()), settings)
        gate = str(tmp_path / f"{precision}.gate")
        steps.append(StepSpec(precision, str(plan.path.parent), gate))
    steps[0] = replace(steps[0], error="no kernel for node 'Mul_0'")
    steps[2] = replace(steps[2], gate="")
    with climbing(project.root, tmp_path, steps) as server:
        page.goto(server.url)
        rungs = page.locator("#ladder-steps li")
        expect(page.locator("#ladder-count")).to_have_text("rung 3 of 3")
        expect(rungs.nth(2)).to_contain_text("ort-cpu, fp32 for cpuserves · plan")
        expect(rungs.nth(1)).to_contain_text("is being built · wait at the gate")
        expect(rungs.nth(1).get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
        expect(rungs.nth(0)).to_contain_text("comes later")
        expect(page.locator("#engine li")).to_have_text(["onnxruntime", "fp32", "cpu"])
        open_gate(steps[1])
        expect(page.locator("#engine li")).to_have_text(["onnxruntime", "fp16", "cpu"])
        expect(rungs.nth(2)).to_contain_text("served before")
        open_gate(steps[0])
        expect(rungs.nth(0)).to_contain_text("cannot serve")
        expect(rungs.nth(0)).to_contain_text("no kernel for node 'Mul_0'")
        expect(page.locator("#ladder-count")).to_have_text("rung 2 of 3")
