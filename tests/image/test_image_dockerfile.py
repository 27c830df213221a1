"""The Dockerfile and its context give the same files as our own image."""

import hashlib
import io
import json
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from containers import Podman
from enginecrate.errors import RecipeInvalid
from enginecrate.image.context_unpacker import MODIFIED, archive_members, unpack_context
from enginecrate.image.dockerfile import dockerfile_text
from enginecrate.image.recipe.config import container_config
from sample_image import TAG, run_program


def make_deb(path: Path, files: dict[str, bytes]) -> None:
    """A .deb with these files: an `ar` archive of tars (deb(5))."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": lzma.compress(b""),
               "data.tar.xz": lzma.compress(buffer.getvalue())}  # fmt: skip
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, data in members.items():
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
            file.write(data + b"\n" * (len(data) % 2))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A context of two layers, with one file from each kind of source."""
    folder = tmp_path / "context"
    for name in ("debs", "wheels", "files"):
        (folder / name).mkdir(parents=True)
    make_deb(folder / "debs" / "a.deb", {"usr/bin/tool": b"tool", "usr/share/doc/a": b"doc"})
    with zipfile.ZipFile(folder / "wheels" / "b.whl", "w") as wheel:
        wheel.writestr("b/__init__.py", "x = 1\n")
    (folder / "files" / sha256(b"made")).write_bytes(b"made")
    archives = {
        name: sha256((folder / name).read_bytes()) for name in ("debs/a.deb", "wheels/b.whl")
    }
    layers = [
        [
            ["folder", "usr", 0o755, 0],
            ["folder", "usr/bin", 0o755, 0],
            ["file", "usr/bin/tool", 0o755, sha256(b"tool"), "debs/a.deb"],
            ["link", "bin", "usr/bin"],
            ["folder", "cache", 0o1777, 65532],
        ],
        [
            ["folder", "lib", 0o755, 0],
            ["file", "lib/b.py", 0o644, sha256(b"x = 1\n"), "wheels/b.whl"],
            ["file", "lib/c.py", 0o644, sha256(b"x = 1\n"), "wheels/b.whl"],
            ["file", "lib/made", 0o644, sha256(b"made"), f"files/{sha256(b'made')}"],
        ],
    ]
    (folder / "files.json").write_text(json.dumps({"archives": archives, "layers": layers}))
    return folder


def test_files_come_from_their_archives(context: Path, tmp_path: Path):
    unpack_context(context, tmp_path / "layers")
    one, two = tmp_path / "layers" / "1", tmp_path / "layers" / "2"
    assert (one / "usr/bin/tool").read_bytes() == b"tool"
    assert stat.S_IMODE((one / "usr/bin/tool").stat().st_mode) == 0o755
    assert (one / "bin").readlink() == Path("usr/bin")
    assert (one / "cache").stat().st_uid == 65532
    assert stat.S_IMODE((one / "cache").stat().st_mode) == 0o1777
    assert [(two / "lib" / name).read_text() for name in ("b.py", "c.py", "made")] == [
        "x = 1\n", "x = 1\n", "made",
    ]  # fmt: skip
    assert (two / "lib/made").stat().st_mtime == MODIFIED
    assert not (one / "usr/share").exists()


def test_a_changed_archive_stops_the_build(context: Path, tmp_path: Path):
    make_deb(context / "debs" / "a.deb", {"usr/bin/tool": b"evil"})
    with pytest.raises(SystemExit, match=r"debs/a\.deb is not the file that was locked"):
        unpack_context(context, tmp_path / "layers")


def test_a_changed_file_stops_the_build(context: Path, tmp_path: Path):
    (context / "files" / sha256(b"made")).write_bytes(b"evil")
    with pytest.raises(SystemExit, match="lacks files with these sha256"):
        unpack_context(context, tmp_path / "layers")


def test_members_of_both_kinds_of_archives(context: Path):
    members = [one.read() for one in archive_members(context / "debs" / "a.deb")]
    assert members == [b"tool", b"doc"]
    assert [one.read() for one in archive_members(context / "wheels" / "b.whl")] == [b"x = 1\n"]


def test_the_dockerfile_downloads_nothing_and_quotes_values():
    config = container_config({"X": 'a "b" c'}, {"title": "Größe: 'groß'"})
    text = dockerfile_text(config, ["Debian base", "model"], "3.11", TAG)
    assert [line for line in text.splitlines() if line.startswith("FROM")] == [
        "FROM scratch AS builder", "FROM scratch",
    ]  # fmt: skip
    assert "COPY --from=builder /layers/2/ /" in text
    assert 'ENV X="a \\"b\\" c"' in text
    assert "USER 65532:65532" in text
    assert 'ENTRYPOINT ["/opt/enginecrate/bin/enginecrate"]' in text
    assert "http" not in text.replace("https", "")


ODD = {
    "letters": "Erkennt Fußgänger und 写真, ab 3 €",
    "dollar": "ab $5, $HOME, ${HOME}, $$",
    "quotes": "a \"b\" 'c' `d`",
    "backslash": "C:\\neu\\",
    "together": '\\$x \\"y\\" \\\\ # <<EOF %',
    "empty": "",
}


def test_builders_read_variables_and_labels_as_they_are(podman: Podman, tmp_path: Path):
    config = container_config(
        {f"X_{name.upper()}": value for name, value in ODD.items()},
        {f"io.example.{name}": value for name, value in ODD.items()},
    )
    lines = dockerfile_text(config, [], "3.11", TAG).splitlines()
    kept = [line for line in lines if line.startswith(("ENV", "LABEL"))]
    (tmp_path / "Dockerfile").write_text("\n".join(["FROM scratch", *kept, ""]), encoding="utf-8")
    podman.run("bud", "--isolation", "chroot", "-t", "odd", tmp_path, tool="buildah")
    made = podman.inspect("odd")["Config"]
    assert config.labels.items() <= made["Labels"].items()
    assert set(config.env) <= set(made["Env"])


def test_a_line_break_in_a_label_is_refused():
    config = container_config({}, {"title": "a\nRUN evil"})
    with pytest.raises(RecipeInvalid, match=r"'a\\nRUN evil' has a control character"):
        dockerfile_text(config, [], "3.11", TAG)


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Every path with its kind, mode, owner, time and content."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for path in (Path(folder, name) for name in (*folders, *files)):
            status = path.lstat()
            facts: tuple[object, ...] = (oct(status.st_mode), status.st_uid, status.st_gid)
            if path.is_symlink():
                facts = ("link", str(path.readlink()))
            elif path.is_file():
                facts = (*facts, int(status.st_mtime), sha256(path.read_bytes()))
            found[str(path.relative_to(root))] = facts
    return found


@pytest.mark.full
@pytest.mark.timeout(600)
def test_buildah_makes_the_same_image(built_image: Path, podman: Podman, tmp_path: Path):
    project, context = built_image.parents[1], tmp_path / "context"
    run_program("image", "dockerfile", context, "--project", project, "--offline")
    assert {"Dockerfile", "SHA256SUMS", "debs", "wheels"} < {one.name for one in context.iterdir()}
    podman.run("bud", "--isolation", "chroot", "--layers=false", "-t", "exported",
               context, tool="buildah", timeout=500)  # fmt: skip
    shutil.rmtree(context)
    ours = podman.run("pull", "-q", f"oci:{built_image}:{TAG}").stdout.strip()
    transports = [
        Path(podman.run("image", "mount", name).stdout.strip()) for name in (ours, "exported")
    ]
    mine, theirs = map(tree, transports)
    assert mine == theirs
    config, exported = (podman.inspect(name)["Config"] for name in (ours, "exported"))
    for name in ("User", "Entrypoint", "WorkingDir", "Volumes", "ExposedPorts", "StopSignal"):
        assert config[name] == exported[name]
    assert sorted(config["Env"]) == sorted(exported["Env"])
    assert config["Labels"].items() <= exported["Labels"].items()
    podman.run("image", "unmount", "--all")
