import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from enginecrate.stacks.catalog import get_stack
from enginecrate.stacks.lock import LockedImage, load_lock
from enginecrate.values import current_platform
from package_world import PackageWorld

PROGRAM = Path(sys.executable).with_name("enginecrate")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> PackageWorld:
    """Sources that no test changes."""
    return PackageWorld(tmp_path_factory.mktemp("world") / "sources")


@pytest.fixture(autouse=True)
def _only_these_sources(
    _own_surroundings: None, sources: PackageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sources.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackageWorld:
    """Sources that a test may change."""
    world = PackageWorld(tmp_path / "sources")
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    return world


def append(project: Path, text: str) -> None:
    manifest = project / "enginecrate.toml"
    manifest.write_text(manifest.read_text() + text)


def locked(project: Path) -> tuple[LockedImage, ...]:
    found = load_lock(project)
    assert found is not None
    return found.images


def set_stacks(project: Path, *names: str) -> None:
    manifest = project / "enginecrate.toml"
    lines = [
        f"stacks = {json.dumps(names)}" if line.startswith("stacks =") else line
        for line in manifest.read_text().splitlines()
    ]
    manifest.write_text("\n".join(lines) + "\n")


def test_it_resolves_every_platform_once_and_checks_without_a_source(
    run, project, sources, monkeypatch
):
    first = run("lock", "--project", project, "--platform", "all")
    file = project / "enginecrate.lock"
    content = file.read_bytes()
    assert first.code == 0
    assert "is written: ort-cpu" in first.out
    assert "linux/amd64" in first.out
    assert "linux/arm64" in first.out
    images = tomllib.loads(content.decode())["images"]
    assert [image["platform"] for image in images] == ["linux/amd64", "linux/arm64"]
    for forbidden in (str(sources.folder), "://", "file:"):
        assert forbidden not in content.decode()
    monkeypatch.setenv("PATH", "")  # neither apt nor pip are asked from here on
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("ENGINECRATE_FIND_LINKS", "")
    assert "is current" in run("lock", "--project", project).out
    assert file.read_bytes() == content
    answer = json.loads(run("lock", "--project", project, "--check", "--json").out)
    assert answer["written"] is False
    assert answer["lock"]["stacks"][0]["name"] == "ort-cpu"
    assert len(answer["lock"]["images"]) == 2


def test_versions_only_needs_no_source(run, project, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert run("lock", "--project", project, "--versions-only").code == 0
    found = load_lock(project)
    assert found is not None
    assert found.images == ()
    checked = run("lock", "--project", project, "--check")
    assert checked.code == 0
    assert "No images are locked" in checked.err


def test_a_check_fails_when_it_is_missing_or_stale(run, project):
    missing = run("lock", "--project", project, "--check")
    assert missing.code == 4
    assert not (project / "enginecrate.lock").exists()
    run("lock", "--project", project, "--versions-only")
    append(project, "\n# changed\n")
    assert run("lock", "--project", project, "--check").code == 0
    append(project, '\n[image]\ndebs = ["libgomp1"]\n')
    stale = run("lock", "--project", project, "--check")
    assert stale.code == 4
    assert stale.err.count("sha256:") == 2
    assert "EC1107" in stale.err
    assert run("lock", "--project", project, "--versions-only").code == 0
    assert run("lock", "--project", project, "--check").code == 0


def test_a_check_sees_images_that_were_resolved_for_something_else(run, project):
    run("lock", "--project", project, "--platform", "linux/amd64")
    file = project / "enginecrate.lock"
    asked = tomllib.loads(file.read_text())["images"][0]["inputs"]
    file.write_text(file.read_text().replace(asked, "sha256:" + "0" * 64))
    stale = run("lock", "--project", project, "--check")
    assert stale.code == 4
    assert asked in stale.err


def test_an_upgrade_shows_what_changes(run, project, world):
    where = ("--project", project, "--platform", "linux/amd64")
    assert run("lock", *where).code == 0
    before = (project / "enginecrate.lock").read_bytes()
    world.add_wheel("numpy", "101.0")
    world.add_deb("tzdata", "2026a-0", "debconf")
    assert "is current" in run("lock", *where).out
    shown = run("lock", *where, "--upgrade", "--dry-run")
    assert "ort-cpu linux/amd64: numpy 100.0 -> 101.0" in shown.out
    assert "ort-cpu linux/amd64: tzdata 2024a-0 -> 2026a-0" in shown.out
    assert shown.out.count("->") == 2
    assert (project / "enginecrate.lock").read_bytes() == before
    answer = json.loads(run("lock", *where, "--upgrade", "--json").out)
    assert {(one["kind"], one["name"]) for one in answer["changes"]} == {
        ("wheel", "numpy"),
        ("deb", "tzdata"),
    }
    assert answer["written"] is True
    assert run("lock", *where, "--check").code == 0


def test_a_stack_of_a_vendor_is_left_out_and_the_rest_is_locked(run, project):
    set_stacks(project, "trt114-cuda130", "ort-cpu")
    outcome = run("lock", "--project", project, "--platform", "linux/amd64")
    assert outcome.code == 11
    assert "Left out: trt114-cuda130 for linux/amd64" in outcome.err
    assert "--find-links" in outcome.err
    found = load_lock(project)
    assert found is not None
    assert [(one.stack, one.platform) for one in found.images] == [("ort-cpu", "linux/amd64")]
    assert [one.name for one in found.stacks] == ["trt114-cuda130", "ort-cpu"]
    assert run("lock", "--project", project, "--check").code == 0
    answer = json.loads(run("lock", "--project", project, "--offline", "--json",
                            "--platform", "linux/amd64").out)  # fmt: skip
    assert [one["code"] for one in answer["refused"]] == ["EC1504"]


@pytest.fixture
def vendor_project(run, project, world, tmp_path, monkeypatch) -> Path:
    """A project with a vendor's stack that is locked from a folder of wheels, now out of reach."""
    set_stacks(project, "trt114-cuda130", "ort-cpu")
    wheels = [world.add_wheel(p.name, p.version) for p in get_stack("trt114-cuda130").packages]
    assert run("lock", "--project", project, "--platform", "linux/amd64").code == 0
    for wheel in wheels:
        wheel.unlink()
    return project


def locked_stacks(project: Path) -> list[str]:
    found = load_lock(project)
    assert found is not None
    return [one.stack for one in found.images]


def test_an_option_is_one_folder_whatever_its_name(run, project, world, tmp_path, monkeypatch):
    set_stacks(project, "trt114-cuda130")
    folder = tmp_path / "my wheels, of a vendor"
    folder.mkdir()
    for package in get_stack("trt114-cuda130").packages:
        world.add_wheel(package.name, package.version).rename(
            folder / f"{package.name.replace('-', '_')}-{package.version}-py3-none-any.whl"
        )
    monkeypatch.chdir(tmp_path)
    options = ["--find-links", world.wheels, "--find-links", folder.name]
    where = ("--project", project, "--platform", "linux/amd64")
    assert run("lock", *where).code == 11
    outcome = run("lock", *where, *options)
    assert outcome.code == 0, outcome.err
    assert locked_stacks(project) == ["trt114-cuda130"]


def test_an_upgrade_keeps_a_stack_whose_vendor_cannot_be_reached(run, vendor_project, world):
    before = load_lock(vendor_project)
    assert before is not None
    world.add_wheel("numpy", "101.0")
    where = ("--project", vendor_project, "--platform", "linux/amd64", "--upgrade")
    outcome = run("lock", *where)
    assert outcome.code == 11
    assert "Not upgraded, stays as it was: trt114-cuda130 for linux/amd64" in outcome.err
    assert "--find-links" in outcome.err
    assert "ort-cpu linux/amd64: numpy 100.0 -> 101.0" in outcome.out
    assert "trt114-cuda130 linux/amd64" not in outcome.out
    after = load_lock(vendor_project)
    assert after is not None
    assert [one.stack for one in after.images] == ["ort-cpu", "trt114-cuda130"]
    assert after.images[1] == before.images[1]
    assert run("lock", "--project", vendor_project, "--check").code == 0
    answer = json.loads(run("lock", *where, "--json").out)
    assert [(one["stack"], one["kept"]) for one in answer["refused"]] == [("trt114-cuda130", True)]


def test_an_upgrade_keeps_nothing_that_was_resolved_for_something_else(run, vendor_project, world):
    world.add_wheel("shapely", "2.1.2")
    append(vendor_project, '\n[image]\npackages = ["shapely==2.1.2"]\n')
    where = ("--project", vendor_project, "--platform", "linux/amd64")
    outcome = run("lock", *where, "--upgrade")
    assert outcome.code == 11
    assert "Left out: trt114-cuda130 for linux/amd64" in outcome.err
    assert locked_stacks(vendor_project) == ["ort-cpu"]


def test_versions_only_keeps_the_images_that_still_fit(run, vendor_project, world, monkeypatch):
    monkeypatch.setenv("PATH", "")
    before = load_lock(vendor_project)
    append(vendor_project, "\n# changed\n")
    outcome = run("lock", "--project", vendor_project, "--versions-only")
    assert outcome.code == 0
    after = load_lock(vendor_project)
    assert before is not None
    assert after is not None
    assert after.images == before.images
    assert after.manifest == before.manifest
    assert run("lock", "--project", vendor_project, "--check").code == 0
    append(vendor_project, '\n[image]\ndebs = ["libgomp1"]\n')
    outcome = run("lock", "--project", vendor_project, "--versions-only")
    assert outcome.code == 0
    assert "Left out: ort-cpu for linux/amd64" in outcome.err
    assert "enginecrate lock --stack ort-cpu" in outcome.err
    assert locked_stacks(vendor_project) == []


def test_other_platforms_come_when_they_are_asked_for_and_stay(run, project, sources):
    """The packages of another architecture are of no use to most."""
    assert run("lock", "--project", project).code == 0
    own = current_platform()
    assert [image.platform for image in locked(project)] == [own]
    refused = run("image", "build", "--project", project, "--platform", "linux/arm64")
    assert "enginecrate lock --stack ort-cpu --platform linux/arm64" in refused.err
    assert run("lock", "--project", project, "--platform", "linux/arm64,linux/amd64").code == 0
    both = ["linux/amd64", "linux/arm64"]
    assert [image.platform for image in locked(project)] == both
    append(project, '\n[image]\ndebs = ["libgomp1"]\n')
    assert run("lock", "--project", project).code == 0
    assert [image.platform for image in locked(project)] == both
    assert run("lock", "--project", project, "--check").code == 0


def test_one_stack_and_one_platform_at_a_time(run, project, sources):
    one = run("lock", "--project", project, "--platform", "linux/amd64")
    assert one.code == 0
    run("lock", "--project", project, "--platform", "linux/arm64", "--stack", "ort-cpu")
    found = load_lock(project)
    assert found is not None
    assert [image.platform for image in found.images] == ["linux/amd64", "linux/arm64"]
    unknown = run("lock", "--project", project, "--stack", "ort-cpus")
    assert unknown.code == 2
    assert "did you mean 'ort-cpu'" in unknown.err
    assert run("lock", "--project", project, "--platform", "linux/s390x").code == 2


def test_stored_inputs_replace_the_sources(run, project, world, tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINECRATE_CACHE_DIR", str(tmp_path / "cache"))
    where = ("--project", project, "--platform", "linux/amd64")
    stored = run("lock", *where, "--vendor", tmp_path / "stored")
    assert stored.code == 0
    assert "sha256:" in stored.err
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(world.folder)
    for name in world.environment():
        monkeypatch.delenv(name)
    assert "EC1807" in run("lock", *where, "--offline", "--vendor", tmp_path / "again").err
    again = run("lock", *where, "--offline", "--inputs", f"oci:{tmp_path / 'stored'}",
                "--vendor", f"oci:{tmp_path / 'again'}")  # fmt: skip
    assert again.code == 0
    indexes = [(tmp_path / name / "index.json").read_bytes() for name in ("stored", "again")]
    assert indexes[0] == indexes[1]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ('packages = ["shapely>=2"]', "nothing in an image may float"),
        ('packages = ["shapely==2.*"]', "name==1.2.3"),
        ('packages = ["shapely @ https://example.com/shapely.whl"]', "name==1.2.3"),
        ('debs = ["libgomp1=12"]', "enginecrate.lock holds the versions"),
        ('repository = "registry.example.com/isv/app:latest"', "'latest' is refused"),
        ('repository = "registry.example.com/isv/app:v1"', "must not have a tag"),
        ('base_image = "registry.example.com/jetpack:latest"', "'latest' is refused"),
        ('base_image = "registry.example.com/jetpack:6.2"', "enginecrate image show"),
        ('base_image = "oci:vendor:latest"', "'latest' is refused"),
        ('base_image = "oci:vendor:r36"', "a tag alone is refused"),
        ('base = "latest"', "there is no base 'latest'"),
        ('files = ["../secrets"]', "inside the project folder"),
        ('source = "https://me:secret@example.com/app"', "without a password"),
    ],
)
def test_nothing_floats(run, project, section, words):
    append(project, f"\n[image]\n{section}\n")
    outcome = run("lock", "--project", project)
    assert outcome.code == 2
    assert words in outcome.err
    assert not (project / "enginecrate.lock").exists()


def test_flags_that_exclude_each_other(run, project):
    outcome = run("lock", "--project", project, "--check", "--upgrade")
    assert outcome.code == 2
    assert "--check and --upgrade exclude each other" in outcome.err


def test_a_folder_that_may_not_be_written(run, project):
    (project / "enginecrate.lock").mkdir()
    outcome = run("lock", "--project", project, "--versions-only")
    assert outcome.code == 6
    assert "enginecrate.lock" in outcome.err


def test_a_damaged_lock_is_written_anew(run, project):
    (project / "enginecrate.lock").write_text("format = [")
    outcome = run("lock", "--project", project, "--versions-only")
    assert outcome.code == 0
    assert "nothing of it is kept" in outcome.err
    assert load_lock(project) is not None


@pytest.mark.parametrize(
    "verb",
    [("image", "build"), ("image", "dockerfile"), ("lock", "--offline"), ("lock", "--check")],
)
@pytest.mark.parametrize("field", ["sha256", "file", "name"])
def test_a_lock_of_a_stranger_touches_no_file_elsewhere(run, project, tmp_path, verb, field):
    assert run("lock", "--project", project, "--platform", "linux/amd64").code == 0
    victim = tmp_path / "home" / "thesis.tex"
    victim.parent.mkdir()
    victim.write_text("years of work")
    file = project / "enginecrate.lock"
    wheel = tomllib.loads(file.read_text())["images"][0]["wheels"][0]
    old, new = f'{field} = "{wheel[field]}"', f'{field} = "{victim}"'
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    context = [tmp_path / "context"] if "dockerfile" in verb else []
    outcome = run(*verb, *context, "--project", project)
    assert outcome.code != 0
    assert "EC1106" in outcome.err or "nothing of it is kept" in outcome.err
    assert f"images[0].wheels[0].{field}" in " ".join(outcome.err.split())
    assert victim.read_text() == "years of work"
    assert list(victim.parent.iterdir()) == [victim]


def test_a_source_that_nobody_reaches(run, project, tmp_path):
    nowhere = tmp_path / "nowhere.list"
    nowhere.write_text(f"deb [trusted=yes] file:{tmp_path}/nowhere test main\n")
    outcome = run("lock", "--project", project, "--apt-sources", nowhere)
    assert outcome.code == 6
    assert f"{tmp_path}/nowhere" in outcome.err
    missing = run("lock", "--project", project, "--apt-sources", tmp_path / "none.list")
    assert missing.code == 3
    assert "none.list" in missing.err
    assert not (project / "enginecrate.lock").exists()


def without_privileges(home: Path, sources: PackageWorld) -> tuple[list[str], dict[str, str]]:
    """The program as an ordinary user runs it: no capability, an empty home, no settings."""
    dropped = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], **sources.environment()}
    return [*(dropped if os.geteuid() == 0 else []), str(PROGRAM), "lock"], environment


def test_no_privileges_and_an_empty_home_are_enough(project, sources, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    command, environment = without_privileges(home, sources)
    done = subprocess.run(
        [*command, "--project", project, "--platform", "linux/arm64"],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list((home / ".cache" / "enginecrate" / "artifacts" / "sha256").iterdir())
    assert load_lock(project) is not None


def test_ctrl_c_leaves_no_word_and_no_rest(project, sources, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    command, environment = without_privileges(home, sources)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        (tmp_path / "silent.list").write_text(f"deb http://{address}/debian test main\n")
        with subprocess.Popen(
            [*command, "--project", project, "--apt-sources", tmp_path / "silent.list"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        ) as running:  # fmt: skip
            connection, _ = silent.accept()  # apt waits for an answer now
            os.killpg(running.pid, signal.SIGINT)
            out, err = running.communicate(timeout=30)
            connection.close()
    assert (running.returncode, out, err) == (130, b"", b"")
    assert not (project / "enginecrate.lock").exists()
    assert not list((home / ".cache").rglob("run-*"))
