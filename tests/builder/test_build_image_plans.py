"""Plans that came with the app, and those that were calibrated on site."""

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from enginecrate.builder.ladder.shipped_plans import shipped_plan
from enginecrate.builder.ladder.site_calibration import calibrate_on_site
from enginecrate.builder.ladder.site_plans import ORIGIN, SitePlan, forget, load_choice, save_choice
from enginecrate.builder.ladder.steps import Step, ensure_plan, open_ladder
from enginecrate.builder.project.project import Project, open_project
from enginecrate.engines.base import Plan
from enginecrate.errors import NotWorthwhile, PlanInvalid, PlanMismatch
from enginecrate.image.recipe.plans import ImagePlan, plan_index
from enginecrate.manifest.schema import Calibration
from enginecrate.settings import Settings, load_settings
from enginecrate.values import Precision
from tiny_project import make_project, settings, write_photos


def with_plans(cache: Path, plans: Path) -> Settings:
    return load_settings(environment={}, flags={"cache_dir": str(cache), "plans_dir": str(plans)})


def ship(plan: Plan, plans: Path, *, stack: str = "ort-cpu") -> Path:
    """Put a plan where an image has it. Returns its folder."""
    folder = plans / plan.path.parent.name
    shutil.copytree(plan.path.parent, folder)
    index = plan_index(stack, plan.info.device, [ImagePlan.read(folder)])
    (plans / "index").mkdir(exist_ok=True)
    file = plans / "index" / f"{stack}-{plan.info.device}.json"
    file.write_bytes(msgspec.json.encode(index))
    for path in plans.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


@pytest.fixture
def built(project: Path, shared_cache: Settings) -> Plan:
    """The project's FP32 plan."""
    return ensure_plan(open_project(project, shared_cache), shared_cache)


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    folder = tmp_path / "plans"
    folder.mkdir()
    return folder


@pytest.fixture
def at(built: Plan, shared_cache: Settings, tmp_path: Path) -> Settings:
    """Settings with a cache of the test's own, which has the project's plan."""
    return settings(Path(shutil.copytree(shared_cache.cache_path, tmp_path / "cache")))


def first_step(project: Path, at: Settings) -> Step:
    return open_ladder(open_project(project, at), at).steps[0]


def test_a_shipped_plan_serves_without_a_build(project, built, plans, tmp_path, caplog):
    folder = ship(built, plans)
    at = with_plans(tmp_path / "cache", plans)
    step = first_step(project, at)
    plan = step.find()
    assert plan is not None
    assert plan.path.parent == folder
    assert plan.info == built.info
    assert step.origin == "shipped"
    assert ensure_plan(open_project(project, at), at) == plan
    assert not at.cache_path.exists()
    assert caplog.text == ""


def damage_bytes(folder: Path) -> None:
    (folder / "plan.onnx").chmod(0o644)
    (folder / "plan.onnx").write_bytes(b"x" * (folder / "plan.onnx").stat().st_size)


def damage_sidecar(folder: Path) -> None:
    file = folder / "plan.json"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-20])


def swap_plan(folder: Path) -> None:
    """Bytes and sidecar agree, and are not what the index names."""
    data = (folder / "plan.onnx").read_bytes() + b" "
    info = msgspec.json.decode((folder / "plan.json").read_bytes())
    from enginecrate.values import Digest

    info |= {"plan_digest": str(Digest.of(data)), "plan_bytes": len(data)}
    for name, content in (("plan.onnx", data), ("plan.json", msgspec.json.encode(info))):
        (folder / name).chmod(0o644)
        (folder / name).write_bytes(content)


def change_a_fact(folder: Path) -> None:
    """The sidecar says something else about the very same bytes."""
    info = msgspec.json.decode((folder / "plan.json").read_bytes()) | {"gpu_name": "another"}
    (folder / "plan.json").chmod(0o644)
    (folder / "plan.json").write_bytes(msgspec.json.encode(info))


def remove_plan(folder: Path) -> None:
    shutil.rmtree(folder)


def break_index(folder: Path) -> None:
    (index,) = (folder.parent / "index").iterdir()
    index.chmod(0o644)
    index.write_bytes(b"{")


def change_index_format(folder: Path) -> None:
    (index,) = (folder.parent / "index").iterdir()
    index.chmod(0o644)
    index.write_bytes(index.read_bytes().replace(b'"format":1', b'"format":99'))


def leave_the_folder(folder: Path) -> None:
    (index,) = (folder.parent / "index").iterdir()
    index.chmod(0o644)
    index.write_bytes(index.read_bytes().replace(folder.name.encode(), b"../../elsewhere"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_bytes, "other bytes than plan.json promises"),
        (damage_sidecar, "not a sidecar"),
        (swap_plan, "another plan than the index says"),
        (change_a_fact, "another plan than the index says"),
        (remove_plan, "No such file"),
        (break_index, "is not an index of plans"),
        (change_index_format, "has format 99"),
        (leave_the_folder, "is not an index of plans"),
    ],
)
def test_instead_of_a_damaged_plan_the_next_source_is_asked(
    project, built, plans, at, caplog, damage, words
):
    damage(ship(built, plans))
    step = first_step(project, with_plans(at.cache_path, plans))
    found = step.find()
    assert words in caplog.text
    assert step.origin == "cached"
    assert found is not None
    assert at.cache_path in found.path.parents


def test_a_plan_of_another_model_or_stack_is_not_used(project, built, plans, tmp_path, caplog):
    ship(built, plans)
    at = with_plans(tmp_path / "cache", plans)
    other = make_project(tmp_path / "other", turn=1)
    assert first_step(other, at).find() is None
    assert "it was made for the model" in caplog.text
    target = first_step(project, at).target
    opened = open_project(project, at)
    for elsewhere in (
        replace(target, precision=Precision.INT8),
        replace(target, stack=msgspec.structs.replace(target.stack, name="ort-cuda130")),
    ):
        assert shipped_plan(opened, elsewhere, at) is None


def test_no_plans_at_all(project, tmp_path):
    opened = open_project(project, settings(tmp_path / "cache"))
    for at in (settings(tmp_path / "cache"), with_plans(tmp_path / "cache", tmp_path / "none")):
        target = open_ladder(opened, at).steps[0].target
        assert shipped_plan(opened, target, at) is None


def choose(project: Project, found: Plan, at: Settings, **changes: object) -> SitePlan:
    from enginecrate.builder.quantization.calibration.pipeline_digest import pipeline_digest

    facts = {
        "app": project.manifest.app.name,
        "model": found.info.model_digest,
        "pipeline": str(pipeline_digest(project)),
        "stack": "ort-cpu",
        "device": "cpu",
        "precision": Precision.INT8,
        "plan": found.path.parent.name,
        "plan_digest": found.info.plan_digest,
        "calibration": "",
        "photos": 3,
        **changes,
    }
    choice = SitePlan(**facts)
    save_choice(project, choice, at)
    return choice


def test_what_was_calibrated_on_site_serves_first(project, at):
    opened = open_project(project, at)
    plan = ensure_plan(opened, at)
    choice = choose(opened, plan, at)
    assert load_choice(opened, "ort-cpu", at) == choice
    steps = open_ladder(opened, at).steps
    assert (steps[0].origin, steps[0].find()) == (ORIGIN, plan)
    assert str(steps[0].target) == "ort-cpu, int8 for cpu"
    assert len(steps) == 2
    assert ensure_plan(opened, at) == plan
    assert forget(opened, "ort-cpu", at)
    assert not forget(opened, "ort-cpu", at)
    assert len(open_ladder(opened, at).steps) == 1


def test_of_another_app_or_device_it_is_left_alone(project, at, tmp_path):
    opened = open_project(project, at)
    plan = ensure_plan(opened, at)
    choose(opened, plan, at, device="sm86")
    assert len(open_ladder(opened, at).steps) == 1
    choose(opened, plan, at)
    other = open_project(make_project(tmp_path / "other", turn=1), at)
    assert len(open_ladder(other, at).steps) == 1


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"plan": "0" * 64}, PlanInvalid, "not in the cache; calibrate again"),
        ({"plan_digest": "sha256:" + "0" * 64}, PlanInvalid, "not in the cache"),
        ({"pipeline": "sha256:" + "0" * 64}, PlanMismatch, "another \\[pipeline\\]"),
    ],
)
def test_when_it_is_gone_or_of_another_pipeline_the_rung_says_so(
    project, at, changes, error, words
):
    opened = open_project(project, at)
    plan = ensure_plan(opened, at)
    choose(opened, plan, at, **changes)
    step = open_ladder(opened, at).steps[0]
    with pytest.raises(error, match=words):
        step.find()
    assert ensure_plan(opened, at) == plan


def test_a_damaged_record_is_told_and_left_alone(project, at, caplog):
    opened = open_project(project, at)
    choose(opened, ensure_plan(opened, at), at)
    (record,) = (at.cache_path / "site").iterdir()
    record.write_bytes(record.read_bytes()[:-20])
    assert len(open_ladder(opened, at).steps) == 1
    assert "calibrate again" in caplog.text


def test_what_is_not_worthwhile_changes_nothing(proven, at, tmp_path):
    opened = open_project(proven, at)
    before = choose(opened, ensure_plan(opened, at), at)
    write_photos(tmp_path / "on-site")
    with pytest.raises(NotWorthwhile):
        calibrate_on_site(
            opened, Calibration(images=str(tmp_path / "on-site")), at, accept_few=True
        )
    assert load_choice(opened, "ort-cpu", at) == before
