"""Plans without weights keep their ONNX graph beside them."""

from pathlib import Path

import msgspec

from enginecrate.builder.ladder.steps import ensure_plan
from enginecrate.builder.plans.plan import run_options, with_weights
from enginecrate.builder.project.project import open_project
from enginecrate.engines.base import BuiltPlan
from enginecrate.engines.cache.plans import PlanRequest, PlanStore
from enginecrate.values import Digest
from tiny_project import make_project, settings


def test_the_graph_is_stored_with_the_plan_and_found_again(tmp_path: Path):
    """Only the bookkeeping: no builder that strips weights runs without its GPU."""
    options = settings(tmp_path / "cache")
    project = open_project(make_project(tmp_path / "project"), options)
    full = ensure_plan(project, options)
    info = msgspec.structs.replace(full.info, weights="stripped")
    built = with_weights(BuiltPlan(full.path.read_bytes(), info), project.model)
    store = PlanStore(options.cache_path)
    plan = store.put(PlanStore.key(PlanRequest.of(built.info)), built)
    weights = run_options(plan, options).weights
    assert weights is not None
    content = project.model.proto.SerializeToString(deterministic=True)
    assert weights.read_bytes() == content
    assert plan.info.files == {weights.name: str(Digest.of(content))}
    assert run_options(full, options).weights is None


def test_damaged_weights_spoil_the_plan(tmp_path: Path):
    options = settings(tmp_path / "cache")
    project = open_project(make_project(tmp_path / "project"), options)
    full = ensure_plan(project, options)
    info = msgspec.structs.replace(full.info, weights="stripped")
    built = with_weights(BuiltPlan(full.path.read_bytes(), info), project.model)
    store = PlanStore(options.cache_path)
    key = PlanStore.key(PlanRequest.of(built.info))
    weights = run_options(store.put(key, built), options).weights
    assert weights is not None
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert store.get(key) is None
