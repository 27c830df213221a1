"""Where a folder of a container lies, from mountinfo files as Docker and Podman make them."""

from pathlib import Path

import pytest

from enginecrate.stacks.machine.mounts import find_mount, host_path

VOLUME = "/var/lib/docker/volumes/enginecrate-cache/_data"
DOCKER = f"""\
610 500 0:55 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A
612 610 8:1 {VOLUME} /var/cache/enginecrate rw - ext4 /dev/sda1 rw
613 610 8:1 /srv/my\\040photos /data rw - ext4 /dev/sda1 rw
614 610 8:17 /calib /photos ro,relatime - ext4 /dev/sdb1 rw
"""


@pytest.fixture
def mountinfo(tmp_path: Path) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text(DOCKER)
    return file


def path_of(folder: str, mountinfo: Path) -> str:
    mount = find_mount(Path(folder), mountinfo)
    assert mount is not None
    return host_path(mount, mountinfo)


def test_a_folder_of_the_hosts_root_file_system_is_known(mountinfo: Path):
    assert path_of("/data/images", mountinfo) == "/srv/my photos"


def test_a_folder_of_a_second_disk_is_not(mountinfo: Path):
    """The host may have that disk at `/data`: `/calib` is then `/data/calib` there."""
    mount = find_mount(Path("/photos"), mountinfo)
    assert mount is not None
    assert (mount.root, mount.device) == ("/calib", "8:17")
    assert path_of("/photos", mountinfo) == ""


def test_engines_on_a_disk_of_their_own_prove_nothing(mountinfo: Path):
    mountinfo.write_text(DOCKER.replace("/var/lib/docker/volumes", "/volumes"))
    assert path_of("/data", mountinfo) == ""


def test_without_mountinfo_nothing_is_known(tmp_path: Path):
    assert find_mount(Path("/data"), tmp_path / "none") is None
