"""Package sources of a test's own: an apt repository and a folder of wheels, tiny but real.

apt and pip read them as they read any other source, so that nothing here needs a network, and a
test decides what the sources have today.
"""

import hashlib
import importlib.metadata
import io
import os
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement

from enginecrate.image.resolve import ArtifactCache, PackageSources
from enginecrate.stacks.catalog import get_stack

BASE = {
    "base-files": ("12.4+deb12u5", "mawk | awk"),
    "ca-certificates": ("20230311", "openssl (>= 1.1.1), debconf (>= 0.5) | debconf-2.0"),
    "gcc-12-base": ("12.2.0-14", ""),
    "libbz2-1.0": ("1.0.8-5+b1", "libc6 (>= 2.14)"),
    "libc6": ("2.36-9+deb12u4", "libgcc-s1"),
    "libexpat1": ("2.5.0-1", "libc6 (>= 2.14)"),
    "libffi8": ("3.4.4-1", "libc6 (>= 2.14)"),
    "libgcc-s1": ("12.2.0-14", "gcc-12-base (= 12.2.0-14)"),
    "liblzma5": ("5.4.1-0.2", "libc6 (>= 2.34)"),
    "libpython3.11-minimal": ("3.11.2-6", ""),
    "libpython3.11-stdlib": (
        "3.11.2-6",
        "libpython3.11-minimal (= 3.11.2-6), media-types | mime-support, libsqlite3-0 (>= 3.36.0)",
    ),
    "libssl3": ("3.0.11-1", "libc6 (>= 2.34), debconf"),
    "libstdc++6": ("12.2.0-14", "libc6 (>= 2.36), libgcc-s1"),
    "openssl": ("3.0.11-1", "libssl3"),
    "python3.11-minimal": ("3.11.2-6", "libpython3.11-minimal (= 3.11.2-6)"),
    "tzdata": ("2024a-0", "debconf (>= 0.5) | debconf-2.0"),
    "zlib1g": ("1:1.2.13.dfsg-1", "libc6 (>= 2.14)"),
    "libgomp1": ("12.2.0-14", "libc6 (>= 2.34), libsqlite3-0"),
    "libsqlite3-0": ("3.40.1-2", "libc6 (>= 2.34)"),
}
"""Name, version and dependencies of stand-ins for Debian's packages."""

LOCKED_DEBS = set(BASE) - {"openssl", "libgomp1", "libsqlite3-0"}
"""What of them an image needs when nothing else is asked for."""


@dataclass
class PackageWorld:
    """Sources in a folder. Change them, and call `publish` for the Debian packages."""

    folder: Path
    debs: dict[tuple[str, str, str], str] = field(default_factory=dict)
    trusted: bool = True

    def __post_init__(self) -> None:
        self.wheels.mkdir(parents=True)
        for architecture in ("amd64", "arm64"):
            for name, (version, depends) in BASE.items():
                self.debs[name, version, architecture] = depends
        self.publish()
        for name, newest in sorted(_own_requirements().items()):
            self.add_wheel(name, newest)
        self.add_wheel("onnxruntime", get_stack("ort-cpu").versions["onnxruntime"])

    @property
    def wheels(self) -> Path:
        return self.folder / "wheels"

    @property
    def apt_sources(self) -> Path:
        return self.folder / "test.sources"

    def publish(self) -> None:
        """Write the apt repository anew."""
        archive = self.folder / "debian"
        for architecture in ("amd64", "arm64"):
            stanzas = []
            for (name, version, arch), depends in sorted(self.debs.items()):
                if arch == architecture:
                    stanzas.append(self._write_deb(archive, name, version, arch, depends))
            index = archive / "dists/test/main" / f"binary-{architecture}" / "Packages"
            index.parent.mkdir(parents=True, exist_ok=True)
            index.write_text("\n".join(stanzas))
        self._write_release(archive / "dists/test")
        trusted = "Trusted: yes\n" if self.trusted else ""
        self.apt_sources.write_text(
            f"Types: deb\nURIs: file:{archive}\nSuites: test\nComponents: main\n{trusted}"
        )

    def add_deb(self, name: str, version: str, depends: str = "") -> None:
        for architecture in ("amd64", "arm64"):
            self.debs[name, version, architecture] = depends
        self.publish()

    def drop_deb(self, name: str, version: str) -> None:
        for architecture in ("amd64", "arm64"):
            del self.debs[name, version, architecture]
        self.publish()

    def add_wheel(
        self,
        name: str,
        version: str,
        requires: tuple[str, ...] = (),
        tag: str = "py3-none-any",
        content: str = "",
    ) -> Path:
        """Write a wheel; one of the same name is replaced."""
        stem = f"{name.replace('-', '_')}-{version}"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        metadata += "".join(f"Requires-Dist: {one}\n" for one in requires)
        files = {
            f"{name.replace('-', '_')}.py": content,
            f"{stem}.dist-info/METADATA": metadata,
            f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        }
        record = "".join(f"{one},,\n" for one in [*files, f"{stem}.dist-info/RECORD"])
        path = self.wheels / f"{stem}-{tag}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for file, text in {**files, f"{stem}.dist-info/RECORD": record}.items():
                archive.writestr(zipfile.ZipInfo(file, (2020, 1, 1, 0, 0, 0)), text)
        return path

    def sources(self, folder: Path, *, offline: bool = False) -> PackageSources:
        return PackageSources(
            folder,
            apt_sources=self.apt_sources,
            find_links=(str(self.wheels),),
            offline=offline,
        )

    def cache(self, folder: Path, *, offline: bool = False) -> ArtifactCache:
        return ArtifactCache(folder, sources=self.sources(folder / "apt", offline=offline))

    def environment(self) -> dict[str, str]:
        """Settings that name these sources alone."""
        return {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "",
            "PIP_CONFIG_FILE": os.devnull,
            "ENGINECRATE_APT_SOURCES": str(self.apt_sources),
            "ENGINECRATE_FIND_LINKS": str(self.wheels),
        }

    def _write_deb(
        self, archive: Path, name: str, version: str, architecture: str, depends: str
    ) -> str:
        file = f"{name}_{version.rpartition(':')[2]}_{architecture}.deb"
        path = archive / "pool" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        control += "Maintainer: nobody <nobody@example.com>\nDescription: a stand-in\n"
        control += f"Depends: {depends}\n" if depends else ""
        data = _deb(control, {f"usr/share/doc/{name}/copyright": f"{name}: CC0-1.0\n"})
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
        return (
            f"{control}Filename: pool/{file}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
        )

    def _write_release(self, suite: Path) -> None:
        lines = ["Suite: test", "Codename: test", "Architectures: amd64 arm64",
                 "Components: main", "Date: Thu, 01 Jan 2026 00:00:00 UTC", "SHA256:"]  # fmt: skip
        for file in sorted(suite.rglob("Packages")):
            data = file.read_bytes()
            name = file.relative_to(suite)
            lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}")
        (suite / "Release").write_text("\n".join(lines) + "\n")


def _own_requirements() -> dict[str, str]:
    """What we need, each with a version that we allow: 100.0, or the installed one."""
    texts = [Requirement(text) for text in importlib.metadata.requires("enginecrate") or []]
    return {
        needed.name: "100.0"
        if needed.specifier.contains("100.0")
        else importlib.metadata.version(needed.name)
        for needed in texts
        if needed.marker is None
    }


def _deb(control: str, files: dict[str, str]) -> bytes:
    """A Debian package (deb(5)): an ar archive with two tar archives."""
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _tar({"control": control}),
        "data.tar.gz": _tar(files),
    }
    whole = b"!<arch>\n"
    for name, data in members.items():
        whole += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data
        whole += b"\n" if len(data) % 2 else b""
    return whole


def _tar(files: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    data = bytearray(content.getvalue())
    data[4:8] = bytes(4)  # the time of the gzip header
    return bytes(data)
