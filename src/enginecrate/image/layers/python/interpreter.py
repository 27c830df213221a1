"""The image's own Python, unpacked on this machine and started by its own loader."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from enginecrate.errors import RecipeInvalid
from enginecrate.image.layers.base_files import BaseFiles
from enginecrate.image.layers.entries import key_of
from enginecrate.image.layers.packages.debs import DebContents
from enginecrate.image.layers.unpacker import unpack
from enginecrate.stacks.lock import LockedDeb, LockedImage
from enginecrate.values import current_platform

__all__ = ["Interpreter", "builder_image", "runs_python"]

_NOT_NEEDED = ("ca-certificates", "tzdata", "media-types", "netbase")
_TIMEOUT = 600
_CURE = "build on a machine of another architecture, or add this one's platform to the stack"


class Interpreter:
    """Python from locked packages. It is unpacked when it first runs; `close` removes it.

    version: of Python, as the lock names it. With the versions of its packages it decides the key;
        the architecture does not, since bytecode is the same on all of them.
    """

    def __init__(self, debs: Sequence[DebContents], version: str) -> None:
        self.version = version
        self._debs = [deb for deb in debs if deb.locked.name not in _NOT_NEEDED]
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()

    @property
    def key(self) -> str:
        versions = {
            f"{deb.locked.name} {deb.locked.version}" for deb in self._debs if _is_python(deb)
        }
        return key_of("python", self.version, *sorted(versions))

    def run(self, arguments: Sequence[str], folder: Path) -> None:
        """Run Python with nothing of this machine in its environment; `folder`: where it starts.

        Raises:
            RecipeInvalid: it does not start here, or fails.
        """
        root = self._root()
        loader = next(root.glob("usr/lib*/ld-linux-*.so.*"), None)
        python = next(iter(sorted(root.glob("usr/bin/python3.*"))), None)
        if loader is None or python is None:
            raise RecipeInvalid(
                "the locked packages hold no Python that can start (ld-linux and python3.N); write "
                "the lock again with `enginecrate lock`"
            )
        libraries = sorted({str(one.parent) for one in root.glob("usr/lib/*/libc.so.6")})
        command = [str(loader), "--library-path", ":".join(libraries), str(python)]
        # Not -I: it would ignore the hash seed. Nothing else is in this environment.
        environment = {
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONHOME": str(root / "usr"),
        }
        options = ["-S", "-s", "-P", "-W", "ignore"]
        try:
            done = subprocess.run(  # noqa: S603  a fixed command in a folder of our own
                [*command, *options, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise RecipeInvalid(f"the image's Python does not run here: {exc}; {_CURE}") from exc
        if done.returncode:
            words = done.stderr.decode("utf-8", "replace").strip()[-500:]
            raise RecipeInvalid(
                f"the image's Python ended with status {done.returncode}: {words or 'silently'}; "
                f"{_CURE}"
            )

    def close(self) -> None:
        """Remove the unpacked files."""
        with self._lock:
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def __enter__(self) -> Interpreter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _root(self) -> Path:
        with self._lock:
            if self._folder is None:
                folder = tempfile.TemporaryDirectory(prefix="enginecrate-python-")
                unpack([BaseFiles(lib64=True), *self._debs], Path(folder.name))
                self._folder = folder
            return Path(self._folder.name)


def builder_image(wanted: LockedImage, images: Sequence[LockedImage]) -> LockedImage:
    """The image whose Python compiles the bytecode of `wanted` on this machine.

    Bytecode does not depend on the architecture: an arm64 image is built on amd64 with the amd64
    Python of the same version from the same lock, and the other way round. Where the lock has no
    such image, the result is `wanted` itself: it runs where the kernel emulates its architecture.
    """
    own = current_platform()
    for image in (wanted, *images):
        if image.platform == own and _python(image) == _python(wanted):
            return image
    return wanted


def runs_python(deb: LockedDeb) -> bool:
    """True if a package belongs to Python itself."""
    return deb.name.startswith(("python3", "libpython3"))


def _is_python(deb: DebContents) -> bool:
    return runs_python(deb.locked)


def _python(image: LockedImage) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((deb.name, deb.version) for deb in image.debs if runs_python(deb)))
