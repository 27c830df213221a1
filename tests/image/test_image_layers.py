"""Layers are the same bytes for the same entries, whoever writes them, and hold nothing unsafe."""

import io
import os
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from layer_tools import open_layer, write

from enginecrate.errors import ArchiveUnsafe, RecipeInvalid
from enginecrate.image.layers.entries import Folder, LayerRecipe, Link, RegularFile
from enginecrate.image.layers.files import BytesContents, EntryContents, FolderContents
from enginecrate.image.layers.tar import MODIFIED, tar_pieces
from enginecrate.image.layers.unpacker import unpack
from enginecrate.image.layers.writer import write_layers
from enginecrate.image.transports.layout import Layout

SCRIPT = textwrap.dedent("""
    import os, sys, time
    from pathlib import Path
    import zstandard
    from enginecrate.image.layers.entries import Folder, LayerRecipe, Link
    from enginecrate.image.layers.files import BytesContents, EntryContents, FolderContents
    from enginecrate.image.layers.compression import Compression
    from enginecrate.image.layers.packages.own_package import OwnPackage
    from enginecrate.image.layers.writer import write_layer
    from enginecrate.image.transports.layout import Layout

    time.tzset()
    if len(sys.argv) > 3:
        os.setgid(int(sys.argv[3]))
        os.setuid(int(sys.argv[3]))
    contents = (
        FolderContents(Path(sys.argv[1]), "opt/app"),
        EntryContents("links", [Folder("var/cache", owner=65532), Link("etc/x", "../opt/app")]),
        BytesContents("files", {"etc/one": b"1", "etc/zwei-\u00e4": b"2"}),
        OwnPackage(),
    )
    layout = Layout(Path(sys.argv[2]), create=True)
    for method in ("zstd", "gzip"):
        made = write_layer(LayerRecipe("a", contents), layout, Compression.here(method, 1))
        print(made.diff_id, made.descriptor.digest)
""")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout", create=True)


def make_app(folder: Path, *, backwards: bool = False) -> Path:
    (folder / "sub").mkdir(parents=True)
    files = {"b.txt": b"b", "a.py": b"print()", "sub/c.bin": bytes(range(256)) * 999, "a-b": b""}
    for name in sorted(files, reverse=backwards):
        (folder / name).write_bytes(files[name])
    (folder / "sub" / "link").symlink_to("../b.txt")
    (folder / "a.py").chmod(0o700 if backwards else 0o777)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.pyc").write_bytes(os.urandom(8))
    return folder


def run_script(app: Path, target: Path, *, user: int | None = None, **environment: str) -> str:
    arguments = [app, target, *([str(user)] if user else [])]
    done = subprocess.run(
        [sys.executable, "-B", "-c", SCRIPT, *arguments],
        cwd="/", umask=0o077 if user else 0o022, env={"PATH": os.environ["PATH"], **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_same_bytes_under_another_user_path_clock_locale_and_umask(open_tmp: Path):
    (open_tmp / "else/where").mkdir(parents=True)
    one = make_app(open_tmp / "one")
    two = make_app(open_tmp / "else/where/two", backwards=True)
    for path in (two, *two.rglob("*")):
        os.utime(path, (1, 1), follow_symlinks=False)
    nobody = 65534 if os.geteuid() == 0 else None
    if nobody:
        for path in (open_tmp / "else", *(open_tmp / "else").rglob("*")):
            os.chown(path, nobody, nobody, follow_symlinks=False)
    first = run_script(one, open_tmp / "l1", TZ="UTC", LANG="C.UTF-8", PYTHONHASHSEED="1")
    second = run_script(two, open_tmp / "else/l2", user=nobody, TZ="Asia/Tokyo", LANG="tr_TR.UTF-8",
                        HOME="/nonexistent", PYTHONHASHSEED="2", SOURCE_DATE_EPOCH="7")  # fmt: skip
    assert first == second
    (zstd, zstd_digest), (gzip, gzip_digest) = (line.split() for line in first.splitlines())
    assert zstd == gzip
    assert zstd_digest != gzip_digest


@pytest.fixture
def open_tmp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that every user may enter."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_order_owners_times_and_modes(layout: Layout):
    entries = [
        RegularFile("b/run", b"x" * 600, 0o755),
        RegularFile("b-c", b""),
        Link("b/a", "../b-c"),
        Folder("var/cache", owner=65532),
        Folder("tmp", 0o1777),
    ]
    layer = write(layout, EntryContents("all", entries))
    with open_layer(layout, layer) as tar:
        members = tar.getmembers()
        assert tar.extractfile("b/run").read() == b"x" * 600
    assert [one.name for one in members] == ["b", "b-c", "b/a", "b/run", "tmp", "var", "var/cache"]
    assert {one.mtime for one in members} == {MODIFIED}
    assert {one.name: (one.uid, one.gid) for one in members if one.uid} == {
        "var/cache": (65532, 65532)
    }
    assert {one.uname + one.gname for one in members} == {""}
    assert {one.name: oct(one.mode) for one in members if not one.issym()} == {
        "b": "0o755", "b-c": "0o644", "b/run": "0o755", "tmp": "0o1777", "var": "0o755",
        "var/cache": "0o755",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["ä/" + "x" * 99, "d/" * 60 + "file", "n" * 100, "m" * 101])
def test_long_and_foreign_names_survive(layout: Layout, name: str):
    target = "t" * 130
    files = [RegularFile(name, b"12345"), Link("z", target), Link(f"{name}-link", "ü")]
    layer = write(layout, EntryContents("names", files))
    with open_layer(layout, layer) as tar:
        assert tar.extractfile(name).read() == b"12345"
        assert tar.getmember("z").linkname == target
        assert tar.getmember(f"{name}-link").linkname == "ü"


def test_a_file_of_more_than_8_gib():
    class Huge:
        size = 9 << 30

        def pieces(self) -> Iterator[bytes]:
            raise AssertionError("only the header is wanted")

    header = next(tar_pieces([RegularFile("model.bin", Huge())]))
    with tarfile.open(fileobj=io.BytesIO(header)) as tar:
        assert tar.next().size == 9 << 30


def test_two_sources_of_one_path_are_both_named(layout: Layout):
    with pytest.raises(RecipeInvalid, match=r"both left and right hold etc/x"):
        write(
            layout, BytesContents("left", {"etc/x": b"1"}), BytesContents("right", {"etc/x": b"1"})
        )
    with pytest.raises(RecipeInvalid, match=r"right needs the folder etc/x, which .* of left"):
        write(
            layout, BytesContents("left", {"etc/x": b"1"}), BytesContents("right", {"etc/x/y": b""})
        )


def test_the_same_folder_twice_is_one(layout: Layout):
    both = EntryContents("a", [Folder("etc")]), EntryContents("b", [Folder("etc")])
    with open_layer(layout, write(layout, *both)) as tar:
        assert tar.getnames() == ["etc"]
    owned = EntryContents("c", [Folder("etc", owner=5)])
    with pytest.raises(RecipeInvalid, match="both a and c hold etc"):
        write(layout, both[0], owned)


@pytest.mark.parametrize(
    "entry",
    [
        RegularFile("/etc/passwd", b""),
        RegularFile("../x", b""),
        RegularFile("a/../x", b""),
        RegularFile("a//x", b""),
        RegularFile("", b""),
        RegularFile("a\nb", b""),
        RegularFile("setuid", b"", 0o4755),
        RegularFile("everybody", b"", 0o666),
        Folder("setgid", 0o2755),
        Folder("owner", owner=70000),
        Link("a/x", "../../etc"),
        Link("x", "b/../../c"),
    ],
)
def test_unsafe_entries_are_refused(layout: Layout, entry: RegularFile | Folder | Link):
    with pytest.raises(ArchiveUnsafe):
        write(layout, EntryContents("bad", [entry]))
    assert not list((layout.folder / "blobs/sha256").iterdir())


def test_a_folder_with_links_that_lead_out(layout: Layout, tmp_path: Path):
    for target in ("/etc/passwd", "../secret"):
        folder = tmp_path / target.replace("/", "_")
        folder.mkdir()
        (folder / "x").symlink_to(target)
        with pytest.raises((RecipeInvalid, ArchiveUnsafe)):
            write(layout, FolderContents(folder, "app"))


def test_a_file_that_changes_after_its_key_was_made(layout: Layout, tmp_path: Path):
    app = make_app(tmp_path / "app")
    contents = FolderContents(app, "app")
    assert contents.key
    for text in (b"B", b"longer", b""):
        (app / "b.txt").write_bytes(text)
        with pytest.raises(RecipeInvalid, match="changed while"):
            write(layout, contents)


def test_a_file_given_by_its_path(layout: Layout, tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"m" * 3_000_000)
    contents = EntryContents("model", [RegularFile("app/model.bin", tmp_path / "model.bin")])
    key = contents.key
    with open_layer(layout, write(layout, contents)) as tar:
        assert tar.extractfile("app/model.bin").read() == b"m" * 3_000_000
    (tmp_path / "model.bin").write_bytes(b"n" * 3_000_000)
    again = EntryContents("model", [RegularFile("app/model.bin", tmp_path / "model.bin")])
    assert again.key != key


def test_keys_follow_content_mode_and_place(tmp_path: Path):
    app = make_app(tmp_path / "app")
    keys = [FolderContents(app, "app").key, FolderContents(app, "other").key]
    keys.append(FolderContents(app, "app", keep=lambda path: path != "sub").key)
    (app / "b.txt").write_bytes(b"B")
    keys.append(FolderContents(app, "app").key)
    (app / "b.txt").chmod(0o755)
    keys.append(FolderContents(app, "app").key)
    assert len(set(keys)) == len(keys)
    assert FolderContents(app, "app").key == keys[-1]


def test_several_layers_come_in_their_order(layout: Layout):
    recipes = [LayerRecipe(f"l{n}", (BytesContents("f", {f"f{n}": b"x" * n}),)) for n in range(5)]
    from enginecrate.image.layers.compression import Compression

    seen: list[tuple[str, int, int]] = []
    layers = write_layers(
        recipes, layout, Compression.here("gzip"), progress=lambda *step: seen.append(step)
    )
    assert [layer.title for layer in layers] == ["l0", "l1", "l2", "l3", "l4"]
    assert {(step, done) for step, done, total in seen if done == total} == {
        (layer.title, layer.size) for layer in layers
    }


def test_unpacking_writes_what_the_layer_would_hold(tmp_path: Path):
    app = make_app(tmp_path / "app")
    unpack([FolderContents(app, "opt/app")], tmp_path / "root")
    assert (tmp_path / "root/opt/app/sub/link").read_bytes() == b"b"
    assert (tmp_path / "root/opt/app/a.py").stat().st_mode & 0o777 == 0o755
    bad = EntryContents("bad", [Link("a", "opt"), RegularFile("a/x", b"")])
    with pytest.raises(RecipeInvalid):
        unpack([bad], tmp_path / "other")
