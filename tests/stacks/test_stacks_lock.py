"""The lock: canonical, and stale as soon as a stack changes, or what the manifest asks for."""

import re
from pathlib import Path

import msgspec
import pytest

from enginecrate.errors import LockInvalid, LockStale, StackUnknown
from enginecrate.manifest import ManifestFile, load_manifest
from enginecrate.stacks.lock import (
    LOCK_NAME,
    Lock,
    LockedDeb,
    LockedImage,
    LockedWheel,
    asked_digest,
    check_lock,
    load_lock,
    make_lock,
    render_lock,
)

MANIFEST = """\
[app]
name = "app"
version = "1.0.0"

[model]
path = "m.onnx"

[pipeline]
task = "tensors"

[targets]
stacks = ["trtrtx17-cuda130", "ort-cpu"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "enginecrate.toml").write_text(MANIFEST)
    return tmp_path


def lock(project: Path) -> tuple[ManifestFile, Lock]:
    file = load_manifest(project)
    made = make_lock(file)
    (project / LOCK_NAME).write_bytes(render_lock(made))
    return file, made


def test_what_was_written_is_read_and_holds(project: Path):
    file, made = lock(project)
    assert check_lock(file) == made == load_lock(project)
    assert [stack.name for stack in made.stacks] == ["trtrtx17-cuda130", "ort-cpu"]
    assert made.manifest == asked_digest(file.manifest)
    assert made.stacks[1].packages[0].name == "onnxruntime"
    assert made.stacks[1].versions["onnxruntime"] == made.stacks[1].packages[0].version


DEB = LockedDeb(
    name="zlib1g",
    version="1:1.2.13",
    architecture="amd64",
    file="zlib1g_1.2.13_amd64.deb",
    sha256="0" * 64,
    size=12,
    source="zlib 1:1.2.13",
)
WHEEL = LockedWheel(
    name="numpy", version="2.0", file="numpy-2.0-py3-none-any.whl", sha256="1" * 64, size=34
)


def an_image(stack: str, platform: str) -> LockedImage:
    return LockedImage(
        stack=stack,
        platform=platform,
        base="debian-12",
        interpreter="3.11.2",
        compression="zstd 1.5.7 level 12",
        inputs="sha256:" + "2" * 64,
        debs=(DEB,),
        wheels=(WHEEL,),
    )


def test_images_are_written_in_order_one_package_a_line(project: Path):
    file = load_manifest(project)
    images = [an_image("ort-cpu", "linux/arm64"), an_image("ort-cpu", "linux/amd64")]
    made = make_lock(file, images)
    content = render_lock(made)
    (project / LOCK_NAME).write_bytes(content)
    assert content == render_lock(make_lock(file, reversed(images)))
    assert check_lock(file) == made == load_lock(project)
    assert [one.platform for one in made.images] == ["linux/amd64", "linux/arm64"]
    assert made.images[0].packages == (DEB, WHEEL)
    lines = [line for line in content.decode().splitlines() if "numpy" in line]
    assert (
        lines
        == [
            f'  {{ name = "numpy", version = "2.0", file = "{WHEEL.file}", sha256 = "{"1" * 64}", '
            "size = 34 },"
        ]
        * 2
    )


def test_no_lock_is_no_fault(project: Path):
    assert check_lock(load_manifest(project)) is None


def test_the_same_lock_gives_the_same_bytes(project: Path):
    file, _ = lock(project)
    content = (project / LOCK_NAME).read_bytes()
    assert content == render_lock(make_lock(file))
    assert str(project) not in content.decode()
    assert render_lock(msgspec.convert(msgspec.toml.decode(content), Lock)) == content


def test_a_changed_manifest_makes_it_stale_and_both_checksums_are_named(project: Path):
    _, made = lock(project)
    (project / "enginecrate.toml").write_text(MANIFEST + '\n[image]\ndebs = ["libgomp1"]\n')
    changed = load_manifest(project)
    with pytest.raises(LockStale) as caught:
        check_lock(changed)
    asked = str(asked_digest(changed.manifest))
    for words in (made.manifest, asked, LOCK_NAME, "enginecrate lock"):
        assert words in str(caught.value)
    assert made.manifest != asked


@pytest.mark.parametrize(
    "more",
    [
        "\n# a comment\n",
        "\n[serve]\ninstances = 2\n",
        '\n[precision]\nmode = "fp16"\naccuracy = { golden = "other/" }\n',
        '\n[image]\nrepository = "registry.example.com/a"\nfiles = ["a"]\n',
    ],
)
def test_what_no_package_follows_from_leaves_it_current(project: Path, more: str):
    _, made = lock(project)
    (project / "enginecrate.toml").write_text(MANIFEST + more)
    assert check_lock(load_manifest(project)) == made


@pytest.mark.parametrize(
    "more", ['debs = ["libgomp1"]', 'packages = ["shapely==2.1.2"]', 'compression = "gzip"']
)
def test_what_packages_follow_from_makes_it_stale(project: Path, more: str):
    lock(project)
    (project / "enginecrate.toml").write_text(f"{MANIFEST}\n[image]\n{more}\n")
    with pytest.raises(LockStale, match=r"\[image\] asked for something else"):
        check_lock(load_manifest(project))


def test_a_lock_of_an_earlier_version_names_the_bytes_of_the_manifest(project: Path):
    file, made = lock(project)
    earlier = msgspec.structs.replace(made, manifest=str(file.digest))
    (project / LOCK_NAME).write_bytes(render_lock(earlier))
    assert check_lock(file) == earlier


def rewrite(project: Path, **changes: object) -> None:
    """Change the first stack of the lock."""
    made = load_lock(project)
    assert made is not None
    first = msgspec.structs.replace(made.stacks[0], **changes)
    fresh = msgspec.structs.replace(made, stacks=(first, *made.stacks[1:]))
    (project / LOCK_NAME).write_bytes(render_lock(fresh))


def test_a_changed_stack_makes_it_stale_and_both_checksums_are_named(project: Path):
    file, made = lock(project)
    other = "sha256:" + "0" * 64
    rewrite(project, digest=other, versions={"cuda": "12.9"})
    with pytest.raises(LockStale) as caught:
        check_lock(file)
    assert other in str(caught.value)
    assert made.stacks[0].digest in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"minimum_driver": "1.0"}, "changed by hand"),
        ({"packages": ()}, "changed by hand"),
        ({"name": "ort-cuda130"}, "ort-cuda130 is not a target any more"),
    ],
)
def test_other_ways_to_be_stale(project: Path, changes: dict[str, object], words: str):
    file, _ = lock(project)
    rewrite(project, **changes)
    with pytest.raises(LockStale, match=words):
        check_lock(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has format None"),
        (b"format = 1", "has format 1"),
        (b"format = 2", "missing required field"),
        (b"format = [", "is not a lock"),
        (b"\xff", "is not a lock"),
        (b"format = 2\nmore = 1", "more"),
        (b'format = 2\ntool_version = "1"\nmanifest = "x"', "manifest is 'x'"),
        (b"format = 2\nstacks = " + b"[" * 100_000, "is not a lock"),
    ],
)
def test_what_is_no_lock(project: Path, content: bytes, words: str):
    (project / LOCK_NAME).write_bytes(content)
    with pytest.raises(LockInvalid, match=words):
        load_lock(project)


ELSEWHERE = "/home/user/.bashrc"


@pytest.mark.parametrize("kind", ["debs", "wheels"])
def test_a_checksum_is_never_a_path(project: Path, kind: str):
    for value in (ELSEWHERE, "../" * 8 + "etc/passwd", "", "0" * 63, "0" * 64 + "\n", "F" * 64):
        refused(project, f"{kind}.sha256", value)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("debs.file", [ELSEWHERE, "../x.deb", ".x.deb", "a/b.deb", "-o.deb", "x", "x.deb\n"]),
        ("debs.file", ["x\0.deb", "a" * 300 + ".deb"]),
        ("debs.name", [ELSEWHERE, "..", "-oAPT::Update::Pre-Invoke::=id", "Zlib", "a\nb", "x"]),
        ("debs.version", ["../1", "1 2", "1\n", "", "a/b", "-1"]),
        ("debs.architecture", ["../amd64", "", "-a", "amd64\n"]),
        ("debs.source", ["../zlib 1", "zlib", "zlib 1\n2", "\x1b[2J 1"]),
        ("debs.size", [-1, 1.5, "12"]),
        ("wheels.file", [ELSEWHERE, "../x.whl", ".x.whl", "a/b.whl", "a\\b.whl", "-r.whl"]),
        ("wheels.file", ["x.tar.gz", "x.whl\n"]),
        ("wheels.name", ["../numpy", "-rnumpy", "Numpy", "numpy==1\n--index-url=x", "a_b", ""]),
        ("wheels.version", ["1\n--index-url=http://x", "1 --hash=x", "", "../1"]),
        ("wheels.size", [-1]),
        ("stack", ["../ort-cpu", "ort cpu", "", "Ort"]),
        ("platform", ["linux/../x", "windows/amd64", "linux/amd64\n", "linux/amd64\x1b[2J"]),
        ("base", ["../debian-12", "/etc/passwd", ""]),
        ("interpreter", ["3", "3.11/../..", "3.11\n", "python"]),
        ("compression", ["lz4 1.0 level 1", "zstd 1/2 level 3", "zstd"]),
        ("inputs", ["sha256:0", "x", "../x"]),
    ],
)  # fmt: skip
def test_what_no_field_may_hold(project: Path, field: str, values: list[object]):
    for value in values:
        refused(project, field, value)


def refused(project: Path, field: str, value: object) -> None:
    """A sound lock with one other value is refused, and the message names the entry."""
    image = an_image("ort-cpu", "linux/amd64")
    kind, _, name = field.rpartition(".")
    if kind:
        (package,) = getattr(image, kind)
        name, value = kind, (msgspec.structs.replace(package, **{name: value}),)
    changed = msgspec.structs.replace(image, **{name: value})
    (project / LOCK_NAME).write_bytes(render_lock(make_lock(load_manifest(project), [changed])))
    where = f"images[0].{field.replace('.', '[0].')}"
    with pytest.raises(LockInvalid, match=re.escape(where)) as caught:
        load_lock(project)
    assert not set("\n\x1b\0") & set(str(caught.value))


def test_nothing_is_there_twice(project: Path):
    image = an_image("ort-cpu", "linux/amd64")
    file = load_manifest(project)
    for images, words in (
        ([image, image], "the image of ort-cpu for linux/amd64, more than once"),
        ([msgspec.structs.replace(image, wheels=(WHEEL, WHEEL))], f"{WHEEL.file}, more than once"),
    ):
        (project / LOCK_NAME).write_bytes(render_lock(make_lock(file, images)))
        with pytest.raises(LockInvalid, match=re.escape(words)):
            load_lock(project)


def test_the_message_names_the_package(project: Path):
    bad = msgspec.structs.replace(WHEEL, file=ELSEWHERE)
    image = msgspec.structs.replace(an_image("ort-cpu", "linux/amd64"), wheels=(bad,))
    (project / LOCK_NAME).write_bytes(render_lock(make_lock(load_manifest(project), [image])))
    with pytest.raises(LockInvalid) as caught:
        load_lock(project)
    for words in (LOCK_NAME, "images[0].wheels[0].file", "'numpy'", ELSEWHERE, "enginecrate lock"):
        assert words in str(caught.value)


def test_a_lock_that_cannot_be_read(project: Path):
    (project / LOCK_NAME).mkdir()
    with pytest.raises(LockInvalid, match="cannot read"):
        load_lock(project)


def test_an_unknown_stack(project: Path):
    (project / "enginecrate.toml").write_text(MANIFEST.replace("ort-cpu", "ort-cpus"))
    with pytest.raises(StackUnknown, match="did you mean 'ort-cpu'"):
        make_lock(load_manifest(project))
