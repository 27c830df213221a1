"""Changes between two locks."""

import msgspec

from enginecrate.image.resolve.changes import Change, changes
from enginecrate.stacks.lock import Lock, LockedDeb, LockedImage, LockedWheel


def deb(name: str, version: str, sha256: str = "0") -> LockedDeb:
    return LockedDeb(
        name=name, version=version, architecture="amd64", file="f", sha256=sha256 * 64, size=1
    )


def wheel(name: str, version: str, sha256: str = "0") -> LockedWheel:
    return LockedWheel(name=name, version=version, file="f", sha256=sha256 * 64, size=1)


IMAGE = LockedImage(
    stack="ort-cpu",
    platform="linux/amd64",
    base="debian-12",
    interpreter="3.11.2",
    compression="zstd 1.5.7 level 12",
    debs=(deb("tzdata", "2024a"), deb("zlib1g", "1.2")),
    wheels=(wheel("numpy", "2.0"), wheel("old", "1.0")),
)


def lock(*images: LockedImage) -> Lock:
    return Lock(format=2, tool_version="1", manifest="m", stacks=(), images=images)


def test_the_same_lock_has_no_changes():
    assert changes(lock(IMAGE), lock(IMAGE)) == ()


def test_every_kind_of_change():
    after = msgspec.structs.replace(
        IMAGE,
        compression="gzip 1.3.1 level 9",
        interpreter="3.11.9",
        debs=(deb("tzdata", "2026a"), deb("zlib1g", "1.2", "1")),
        wheels=(wheel("new", "3.0"), wheel("numpy", "2.1")),
    )
    found = {
        (one.kind, one.name): (one.before, one.after) for one in changes(lock(IMAGE), lock(after))
    }
    assert found == {
        ("compression", "compression"): ("zstd 1.5.7 level 12", "gzip 1.3.1 level 9"),
        ("interpreter", "python"): ("3.11.2", "3.11.9"),
        ("deb", "tzdata"): ("2024a", "2026a"),
        ("deb", "zlib1g"): ("sha256:" + "0" * 64, "sha256:" + "1" * 64),
        ("wheel", "new"): ("", "3.0"),
        ("wheel", "numpy"): ("2.0", "2.1"),
        ("wheel", "old"): ("1.0", ""),
    }


def test_an_image_that_is_new_or_gone():
    small = msgspec.structs.replace(IMAGE, debs=(), wheels=(wheel("numpy", "2.0"),))
    new = changes(None, lock(small))
    expected = Change(stack="ort-cpu", platform="linux/amd64", kind="wheel", name="numpy",
                      before="", after="2.0")  # fmt: skip
    assert expected in new
    assert all(one.before == "" for one in new)
    assert all(one.after == "" for one in changes(lock(small), lock()))
