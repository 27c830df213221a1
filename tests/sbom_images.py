"""A small image with everything that a bill of materials looks for, and its lock."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from enginecrate.image.transports.layout import Layout
from enginecrate.stacks.lock import LockedDeb, LockedImage, LockedWheel
from enginecrate.values import Digest
from layered_images import Item, add_image, symlink

SAMPLE = Path(__file__).parents[1] / "samples/detection"
CREATED = "2026-11-01T00:00:00Z"
PLAN = b"a plan of the sample"
MODEL = (SAMPLE / "models/nanodet-g-416.onnx").read_bytes()[:4096]
NVIDIA_TERMS = "NVIDIA Software License Agreement. You may not reverse engineer."

STATUS = """\
Package: gcc-12-base
Status: install ok installed
Version: 12.2.0-14
Architecture: amd64
Source: gcc-12
Maintainer: Debian GCC Maintainers <gcc@example.org>
Description: GCC, the GNU Compiler Collection (base package)
 more lines

Package: libgcc-s1
Status: install ok installed
Version: 12.2.0-14
Architecture: amd64
Source: gcc-12
Pre-Depends: gcc-12-base (= 12.2.0-14)
Depends: libc6 (>= 2.35) | libc6-alternative, libnowhere
Description: GCC support library

Package: libc6
Status: install ok installed
Version: 2.36-9+b1
Architecture: amd64
Source: glibc (2.36-9)
Homepage: https://www.gnu.org/software/libc/libc.html
Provides: libc-virtual (= 2.36)
Description: GNU C Library

Package: zlib1g
Status: install ok installed
Version: 1:1.2.13
Architecture: amd64
Source: zlib
Depends: libc-virtual
Description: compression library

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: amd64
Description: removed
"""
FREE_COPYRIGHT = "This is the Debian GCC package. Parts are under the GPL, parts are not."
ZLIB_COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: zlib

Files: *
Copyright: 1995 Jean-loup Gailly
License: Zlib

Files: contrib/*
Copyright: 2000 Somebody
License: GPL-2+ or Odd-1, and Expat

License: Odd-1
 Do what is odd.
 .
 But not more.

License: GPL-2+
 On Debian systems see /usr/share/common-licenses/GPL-2.
"""
OS_RELEASE = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
ID=debian
"""

LIB = "opt/enginecrate/lib"
APP = "opt/enginecrate/app"
PLANS = "opt/enginecrate/plans"


def make_image(
    folder: Path,
    layers: Sequence[Iterable[Item]],
    *,
    annotations: Mapping[str, str] | None = None,
    variables: tuple[str, ...] = (),
) -> Layout:
    """An image `v1` for linux/amd64."""
    layout = Layout(folder, create=True)
    add_image(
        layout, layers, tag="v1", config={"Env": variables}, annotations=dict(annotations or {})
    )
    return layout


def wheel(name: str, version: str, fields: str, **more: str | bytes) -> list[Item]:
    """The dist-info of a package; `more`: files in it by their path with `__` for `/`."""
    info = f"{LIB}/{name}-{version}.dist-info"
    head = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{fields}\nText.\n"
    items = [Item(f"{info}/METADATA", head.encode()), Item(f"{info}/RECORD", b"")]
    for path, data in more.items():
        content = data if isinstance(data, bytes) else data.encode()
        items.append(Item(f"{info}/{path.replace('__', '/')}", content))
    return items


WHEEL_BILL = json.dumps(
    {
        "bomFormat": "CycloneDX",
        "specVersion": "1.4",
        "components": [
            {"type": "library", "name": "its own code", "purl": "pkg:pypi/image-tool@3.0#c"},
            {
                "type": "library",
                "name": "libjpeg / libjpeg-turbo",
                "version": "3.1",
                "licenses": [{"license": {"id": "IJG"}}, {"license": {"id": "BSD-3-Clause"}}],
            },
            {"type": "library", "name": "FreeType", "version": "2.13", "scope": "optional"},
            {"type": "library", "name": "libimagequant", "version": "4", "scope": "optional"},
            {"type": "library", "name": "pybind11", "version": "2", "scope": "excluded"},
        ],
    }
)


def system_items() -> list[Item]:
    doc = "usr/share/doc"
    return [
        Item("usr/lib/os-release", OS_RELEASE.encode()),
        symlink("etc/os-release", "../usr/lib/os-release"),
        Item("var/lib/dpkg/status", STATUS.encode()),
        Item(f"{doc}/gcc-12-base/copyright", FREE_COPYRIGHT.encode()),
        Item(f"{doc}/zlib1g/copyright", ZLIB_COPYRIGHT.encode()),
    ]


def wheel_items() -> list[Item]:
    return [
        *wheel(
            "numpy",
            "2.4.6",
            "Author: Travis E. Oliphant et al.\nMaintainer-Email: NumPy <n@example.org>\n"
            "License-Expression: BSD-3-Clause AND 0BSD\nProject-URL: Homepage, https://numpy.org\n",
        ),
        Item(f"{LIB}/numpy.libs/libscipy_openblas64_-32a4b2a6.so", b"\x7fELF openblas"),
        *wheel(
            "Image_Tool",
            "3.0",
            "Author-email: Zoë Müller <z@example.org>\nLicense: BSD\nRequires-Dist: numpy>=2\n"
            "Classifier: License :: OSI Approved :: BSD License\n"
            'Requires-Dist: cuda-thing; extra == "gpu"\n'
            'Requires-Dist: onlywindows; sys_platform == "win32"\nLicense-File: LICENSE\n',
            licenses__LICENSE="Redistribution is allowed. It is a BSD of some kind.",
            sboms__auditwheel="",
            **{"sboms__all.cdx.json": WHEEL_BILL},
        ),
        Item(f"{LIB}/Image_Tool.libs/libjpeg-6dc8d115.so.62.4.0", b"\x7fELF jpeg"),
        Item(f"{LIB}/Image_Tool.libs/libfreetype-57f805ba.so.6", b"\x7fELF freetype"),
        Item(f"{LIB}/Image_Tool.libs/liblcms2-88eaba2f.so.2", b"\x7fELF lcms"),
        *wheel(
            "nvidia-cublas",
            "13.0.0",
            "Author: NVIDIA Corporation\nLicense: NVIDIA Proprietary Software\n"
            "Classifier: License :: Other/Proprietary License\n",
            **{"License.txt": NVIDIA_TERMS},
        ),
        *wheel(
            "nvidia-cufft",
            "12.5.0",
            "Author: NVIDIA\nLicense-Expression: LicenseRef-NVIDIA-Proprietary AND MIT\n",
            **{"licenses__License.txt": NVIDIA_TERMS},
        ),
        *wheel(
            "twice",
            "1.0",
            "Author: Two\nClassifier: License :: OSI Approved :: MIT License\n"
            "Classifier: License :: OSI Approved :: Apache Software License\n",
        ),
        *wheel("enginecrate", "0.1.0", "Author: Us\nLicense-Expression: Apache-2.0\n"),
    ]


def plan_items() -> list[Item]:
    sidecar = {
        "backend": "onnxruntime", "backend_version": "1.32.0", "tool_version": "0.1.0",
        "stack": "ort-cpu", "platform": "linux/amd64", "device": "cpu",
        "model_digest": Digest.of(MODEL), "graph_digest": Digest.of(PLAN),
        "plan_digest": Digest.of(PLAN), "plan_bytes": len(PLAN), "precision": "fp32",
        "inputs": [], "outputs": [], "max_batch": 8,
    }  # fmt: skip
    return [
        Item(f"{PLANS}/abc123/plan.onnx", PLAN),
        Item(f"{PLANS}/abc123/plan.json", json.dumps(sidecar).encode()),
        Item(f"{PLANS}/index/ort-cpu-cpu.json", b"{}"),
    ]


def app_items() -> list[Item]:
    names = ["enginecrate.toml", "PROVENANCE.md", "models/coco80.json", "photos/china.jpg"]
    files = [Item(f"{APP}/{name}", (SAMPLE / name).read_bytes()) for name in names]
    return [*files, Item(f"{APP}/models/nanodet-g-416.onnx", MODEL)]


ANNOTATIONS = {
    "org.opencontainers.image.title": "photo-detector",
    "org.opencontainers.image.version": "1.0.0",
    "org.opencontainers.image.vendor": "example",
    "org.opencontainers.image.licenses": "Apache-2.0",
    "org.opencontainers.image.created": CREATED,
}


def sbom_image(folder: Path) -> Layout:
    """The image `v1` in a layout."""
    layers = [system_items(), wheel_items(), app_items(), plan_items()]
    variables = ("PYTHON_VERSION=3.11.2",)
    return make_image(folder, layers, annotations=ANNOTATIONS, variables=variables)


def image_lock() -> LockedImage:
    """The lock of `sbom_image`. Every file's checksum is that of its name."""
    debs = [("gcc-12-base", "12.2.0-14"), ("libc6", "2.36-9+b1"), ("libgcc-s1", "12.2.0-14")]
    wheels = [("numpy", "2.4.6"), ("image-tool", "3.0"), ("twice", "1.0")]
    wheels += [("nvidia-cublas", "13.0.0"), ("nvidia-cufft", "12.5.0")]
    return LockedImage(
        stack="ort-cpu",
        platform="linux/amd64",
        base="debian-12",
        interpreter="3.11.2",
        compression="gzip level 6",
        debs=tuple(
            LockedDeb(
                name=name, version=version, architecture="amd64", file=f"{name}.deb",
                sha256=Digest.of(name.encode()).hex, size=1,
            )
            for name, version in [*debs, ("zlib1g", "1:1.2.13")]
        ),
        wheels=tuple(
            LockedWheel(
                name=name, version=version, file=f"{name}.whl",
                sha256=Digest.of(name.encode()).hex, size=1,
            )
            for name, version in wheels
        ),
    )  # fmt: skip
