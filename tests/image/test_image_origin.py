"""The commit that an image names: the same for everybody, and no program of a stranger runs."""

import hashlib
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from enginecrate.errors import OriginUnknown
from enginecrate.image.recipe import git as repository
from enginecrate.image.recipe.origin import Origin, find_origin

TIME = "2023-11-14T22:13:20Z"
ENVIRONMENT = {"PATH": os.environ["PATH"]}


class Project:
    """A folder in a repository of its own, with everything committed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet")
        self.write("enginecrate.toml", "x")
        self.write("model.onnx", "weights")
        self.commit()

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "all")

    def git(self, *words: str) -> str:
        options = ["-c", "user.name=t", "-c", "user.email=t@example.com",
                   "-c", "protocol.file.allow=always"]  # fmt: skip
        environment = {**ENVIRONMENT, "GIT_COMMITTER_DATE": "1700000000 +0800"}
        return subprocess.run(
            ["git", *options, "-C", self.folder, *words],
            env=environment, check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip

    def origin(self, **environment: str) -> Origin:
        return find_origin(self.folder, {**ENVIRONMENT, **environment})

    def touch(self) -> None:
        """Git must read the files again: what it remembers of them is another time."""
        for path in self.folder.glob("*.*"):
            os.utime(path, (1, 1))

    @property
    def clean(self) -> Origin:
        return Origin(self.git("rev-parse", "HEAD"), TIME)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def test_a_clean_project_names_its_commit_and_time(project: Project):
    assert project.origin() == project.clean
    project.touch()
    assert project.origin() == project.clean


def test_what_is_not_committed_is_said(project: Project):
    project.write("model.onnx", "others")
    project.write("new.txt", "x")
    found = project.origin()
    assert (found.revision, found.created) == ("", "1970-01-01T00:00:00Z")
    for words in ("'model.onnx' and 1 more", "commit the files", "--revision", "SOURCE_DATE_EPOCH"):
        assert words in found.note
    given = find_origin(project.folder, {**ENVIRONMENT, "SOURCE_DATE_EPOCH": "1"}, "abc")
    assert given == Origin("abc", "1970-01-01T00:00:01Z")


def test_a_project_below_the_top_knows_the_rules_above_it(project: Project):
    project.write("apps/one/enginecrate.toml", "x")
    project.write("apps/two/enginecrate.toml", "x")
    project.write(".gitignore", "build/\n")
    project.commit()
    project.write("apps/one/build/layer", "x")
    project.write("apps/two/more.txt", "x")
    found = find_origin(project.folder / "apps" / "one", ENVIRONMENT)
    assert found == project.clean
    assert "'more.txt'" in find_origin(project.folder / "apps" / "two", ENVIRONMENT).note
    (project.folder / "build").mkdir()
    shutil.copy(project.folder / "enginecrate.toml", project.folder / "build")
    assert find_origin(project.folder / "build", ENVIRONMENT).revision == ""


def test_rules_of_one_user_alone_do_not_count(project: Project, tmp_path: Path):
    rules = tmp_path / "rules"
    rules.write_text("*.swp\n")
    (tmp_path / ".gitconfig").write_text(f"[core]\n excludesFile = {rules}\n")
    (project.folder / ".git" / "info" / "exclude").write_text("*.swp\n")
    project.git("config", "core.excludesFile", str(rules))
    project.write("notes.swp", "x")
    found = {
        project.origin(),
        project.origin(HOME=str(tmp_path)),
        project.origin(GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="core.excludesFile",
                       GIT_CONFIG_VALUE_0=str(rules)),
    }  # fmt: skip
    assert len(found) == 1
    assert "'notes.swp'" in found.pop().note


def test_hidden_files_count_only_when_they_are_packed(project: Project):
    for name in (".DS_Store", ".idea/workspace.xml", ".calibration/photo.jpg"):
        project.write(name, "x")
    assert project.origin() == project.clean
    found = find_origin(project.folder, ENVIRONMENT, packed=lambda: [".calibration/photo.jpg"])
    assert "'.calibration/'" in found.note
    # What is committed and changed counts, also below a hidden folder.
    project.write(".apps/one/enginecrate.toml", "x")
    project.commit()
    project.write(".apps/one/enginecrate.toml", "y")
    assert "enginecrate.toml'" in find_origin(project.folder / ".apps" / "one", ENVIRONMENT).note


def test_variables_of_git_name_no_other_repository(project: Project, tmp_path: Path):
    other = Project(tmp_path / "other")
    other.write("model.onnx", "changed")
    where = {"GIT_DIR": str(other.folder / ".git"), "GIT_WORK_TREE": str(other.folder)}
    assert project.origin(**where, GIT_INDEX_FILE="/nowhere") == project.clean


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_repository_of_another_user_is_said_and_may_be_allowed(project: Project, tmp_path: Path):
    expected = project.clean
    for folder, _, names in os.walk(project.folder):
        for name in ("", *names):
            os.chown(Path(folder, name), 1234, 1234)
    found = project.origin()
    assert found.revision == ""
    for words in ("ownership", str(project.folder), "safe.directory", "--revision"):
        assert words in found.note
    settings = tmp_path / ".gitconfig"
    settings.write_text(f'[safe]\n directory = "{project.folder}"\n')
    assert project.origin(HOME=str(tmp_path)) == expected
    assert project.origin(GIT_CONFIG_GLOBAL=str(settings)) == expected
    settings.rename(tmp_path / "config")
    (tmp_path / "git").mkdir()
    (tmp_path / "config").rename(tmp_path / "git" / "config")
    assert project.origin(XDG_CONFIG_HOME=str(tmp_path)) == expected
    shutil.copy(tmp_path / "git" / "config", project.folder / ".git" / "config")
    assert "ownership" in project.origin().note  # it cannot allow itself


def test_nothing_that_a_repository_configures_runs(project: Project, tmp_path: Path):
    ran = tmp_path / "ran"
    run = f"touch {ran}; cat"
    project.write(".gitattributes", "* filter=evil diff=evil\nmodel.onnx filter=worse\n")
    project.commit()
    expected = project.clean
    hook = project.folder / ".git" / "hooks" / "post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
    hook.chmod(0o755)
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    for name, value in {
        "filter.evil.clean": run, "filter.evil.smudge": run, "filter.evil.required": "true",
        "filter.worse.process": run, "filter.worse.required": "true",
        "core.fsmonitor": str(program), "core.hooksPath": str(hook.parent),
        "core.pager": str(program), "core.sshCommand": str(program), "core.askPass": str(program),
        "diff.external": str(program), "diff.evil.textconv": run, "diff.evil.command": run,
        "log.showSignature": "true", "gpg.program": str(program), "alias.status": f"!{program}",
        "credential.helper": str(program),
    }.items():  # fmt: skip
        project.git("config", name, value)
    project.touch()
    assert project.origin() == expected
    assert not ran.exists()
    project.git("config", "filter.a=b.clean", run)
    assert "a=b" in project.origin().note
    assert not ran.exists()
    with suppress(subprocess.CalledProcessError):
        project.git("status")  # what git itself does
    assert ran.exists()


def test_a_partial_clone_fetches_nothing(project: Project, tmp_path: Path):
    ran = tmp_path / "ran"
    for name, value in {
        "extensions.partialClone": "origin", "remote.origin.promisor": "true",
        "remote.origin.url": f"ext::sh -c touch% {ran}", "protocol.ext.allow": "always",
    }.items():  # fmt: skip
        project.git("config", name, value)
    tree = project.git("rev-parse", "HEAD^{tree}")
    (project.folder / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    project.touch()
    assert project.origin().revision == ""
    assert project.origin().note
    assert not ran.exists()


def test_files_of_lfs_are_compared_with_their_pointers(project: Project):
    content = b"many weights"
    pointer = (
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{hashlib.sha256(content).hexdigest()}\nsize {len(content)}\n"
    )
    project.write("models/large model.onnx", pointer)
    project.write(".gitattributes", "*.onnx filter=lfs diff=lfs merge=lfs -text\n")
    project.commit()
    model = project.folder / "models" / "large model.onnx"
    model.write_bytes(content)
    project.git("config", "filter.lfs.clean", "git-lfs clean -- %f")  # which need not be installed
    project.git("config", "filter.lfs.required", "true")
    assert project.origin() == project.clean
    model.write_bytes(content.upper())
    assert "'models/large model.onnx'" in project.origin().note
    model.unlink()
    assert "'models/large model.onnx'" in project.origin().note


def test_submodules_count_and_run_nothing(project: Project, tmp_path: Path):
    ran = tmp_path / "ran"
    other = Project(tmp_path / "other")
    other.write(".gitattributes", "* filter=evil\n")
    other.commit()
    project.git("submodule", "--quiet", "add", str(other.folder), "parts/one")
    project.git("submodule", "--quiet", "add", str(other.folder), "parts/two")
    project.commit()
    below = project.folder / "parts" / "one"
    for name in ("one", "two"):
        settings = ("-C", str(project.folder / "parts" / name), "config")
        project.git(*settings, "filter.evil.clean", f"touch {ran}; cat")
    os.utime(below / "model.onnx", (1, 1))
    assert project.origin() == project.clean
    (below / "model.onnx").write_text("changed")
    assert "'parts/one/model.onnx'" in project.origin().note
    assert not ran.exists()
    project.git("checkout", "--quiet", "--", ".")
    shutil.rmtree(project.folder / "parts" / "two")
    (project.folder / "parts" / "two").mkdir()  # as in a clone without submodules
    (below / "model.onnx").write_text("weights")
    assert project.origin() == project.clean


def test_a_slow_git_is_an_error_with_a_cure(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(repository, "_SECONDS", 0.1)
    path = f"{slow.parent}:{os.environ['PATH']}"
    with pytest.raises(OriginUnknown) as caught:
        project.origin(PATH=path)
    for words in (str(project.folder), "--revision", "SOURCE_DATE_EPOCH"):
        assert words in str(caught.value)
    given = {"PATH": path, "SOURCE_DATE_EPOCH": "1700000000"}
    assert find_origin(project.folder, given, "abc") == Origin("abc", TIME)


def test_no_git_and_no_commit_are_said(project: Project, tmp_path: Path):
    assert "git is not installed" in project.origin(PATH=str(tmp_path)).note
    shutil.rmtree(project.folder / ".git")
    assert project.origin(PATH=str(tmp_path)) == Origin("", "1970-01-01T00:00:00Z")
    project.git("init", "--quiet")
    assert project.origin().note
