import json
from pathlib import Path

import msgspec
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from enginecrate.errors import ImageInvalid, ImageNotFound
from enginecrate.image.formats.oci import INDEX, ImageIndex, Platform, encode
from enginecrate.image.sbom.collect import make_sbom
from enginecrate.image.sbom.copyright_files import debian_licence
from enginecrate.image.sbom.cyclonedx_json import render_cyclonedx
from enginecrate.image.sbom.licences import LicenceTexts, debian_id
from enginecrate.image.sbom.model import Component, Kind, Link, Sbom
from enginecrate.image.sbom.provenance_tables import read_origins
from enginecrate.image.sbom.spdx_json import spdx_document
from enginecrate.image.transports.layout import Layout
from enginecrate.values import Digest
from layered_images import Item
from sbom_images import (
    ANNOTATIONS,
    FREE_COPYRIGHT,
    LIB,
    MODEL,
    NVIDIA_TERMS,
    PLAN,
    ZLIB_COPYRIGHT,
    app_items,
    image_lock,
    make_image,
    plan_items,
    sbom_image,
    system_items,
    wheel,
    wheel_items,
)
from sbom_tools import spdx_faults


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return sbom_image(tmp_path_factory.mktemp("sbom") / "image")


@pytest.fixture(scope="module")
def bill(layout: Layout) -> Sbom:
    return make_sbom(layout, "v1", locked=image_lock())


def named(bill: Sbom, ref: str) -> Component:
    return next(one for one in bill.components if one.ref == ref)


def targets(bill: Sbom, source: str, link: Link) -> set[str]:
    return {one.target for one in bill.relations if (one.source, one.link) == (source, link)}


def test_installed_debs_are_listed_with_their_distribution(bill: Sbom) -> None:
    names = {one.name: one.version for one in bill.of_kind(Kind.DEB)}
    assert names == {
        "gcc-12-base": "12.2.0-14",
        "libc6": "2.36-9+b1",
        "libgcc-s1": "12.2.0-14",
        "zlib1g": "1:1.2.13",
    }
    assert named(bill, "deb/libc6").purl == (
        "pkg:deb/debian/libc6@2.36-9%2Bb1?arch=amd64&distro=debian-12&upstream=glibc%402.36-9"
    )
    assert named(bill, "system/debian").summary == "Debian GNU/Linux 12 (bookworm)"
    base = named(bill, "deb/gcc-12-base")
    assert (base.supplier, base.author) == ("Debian", "Debian GCC Maintainers")
    assert base.summary == "GCC, the GNU Compiler Collection (base package)"


def test_dependencies_are_those_that_are_in_the_image(bill: Sbom) -> None:
    depends = {one: targets(bill, f"deb/{one}", Link.DEPENDS_ON) for one in ("libgcc-s1", "zlib1g")}
    assert depends == {"libgcc-s1": {"deb/gcc-12-base", "deb/libc6"}, "zlib1g": {"deb/libc6"}}
    assert targets(bill, "wheel/image-tool", Link.DEPENDS_ON) == {"wheel/numpy"}


def test_packages_of_one_source_share_the_copyright_file(bill: Sbom) -> None:
    licence = named(bill, "deb/gcc-12-base").licence
    assert licence == named(bill, "deb/libgcc-s1").licence
    assert bill.licence_texts[licence] == FREE_COPYRIGHT
    assert named(bill, "deb/libc6").licence == ""


def test_machine_readable_copyright_becomes_an_spdx_expression(bill: Sbom) -> None:
    licence = named(bill, "deb/zlib1g").licence
    odd = next(name for name in bill.licence_texts if "Odd-1" in name)
    assert licence == f"(GPL-2.0-or-later OR {odd}) AND MIT AND Zlib"
    assert bill.licence_texts[odd] == "Do what is odd.\n.\nBut not more."


@pytest.mark.parametrize(
    ("name", "spdx"),
    [
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-3+", "GPL-3.0-or-later"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("GPL-2.0-or-later", "GPL-2.0-or-later"),
        ("gpl-3-or-later", "GPL-3.0-or-later"),
        ("AGPL-3.0-only", "AGPL-3.0-only"),
        ("Expat", "MIT"),
        ("bsd-3-clause", "BSD-3-Clause"),
        ("Apache-2", "Apache-2.0"),
        ("public-domain", ""),
        ("Artistic", ""),
    ],
)
def test_debian_names_that_mean_one_licence(name: str, spdx: str) -> None:
    assert debian_id(name) == spdx


def test_a_copyright_file_may_use_the_names_of_spdx() -> None:
    text = ZLIB_COPYRIGHT.replace("GPL-2+", "GPL-2.0-or-later")
    licence = debian_licence("zlib1g", text, LicenceTexts())
    assert licence.startswith("(GPL-2.0-or-later OR ")


def test_copyright_without_a_known_form_keeps_its_whole_text() -> None:
    texts = LicenceTexts()
    assert debian_licence("a", "", texts) == ""
    first = debian_licence("a", "Some words.", texts)
    assert first == debian_licence("b", "Some words.", texts)
    assert texts.used_in([first]) == {first: "Some words."}
    broken = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
    assert texts.used_in([debian_licence("c", broken, texts)])


@pytest.mark.parametrize(
    ("ref", "licence"),
    [
        ("wheel/numpy", "BSD-3-Clause AND 0BSD"),
        ("wheel/twice", "Apache-2.0 AND MIT"),
        ("wheel/enginecrate", "Apache-2.0"),
    ],
)
def test_wheels_state_their_licence(bill: Sbom, ref: str, licence: str) -> None:
    assert named(bill, ref).licence == licence


def test_a_name_that_means_several_licences_gives_the_text(bill: Sbom) -> None:
    tool = named(bill, "wheel/image-tool")
    assert "some kind" in bill.licence_texts[tool.licence]
    assert (tool.name, tool.supplier) == ("Image_Tool", "Zoë Müller")
    assert tool.purl == "pkg:pypi/image-tool@3.0"


def test_nvidias_terms_are_named_and_kept(bill: Sbom) -> None:
    licence = named(bill, "wheel/nvidia-cublas").licence
    assert licence.startswith("LicenseRef-NVIDIA-Corporation-NVIDIA-Proprietary-Software-")
    assert bill.licence_texts[licence] == NVIDIA_TERMS
    assert named(bill, "wheel/nvidia-cufft").licence == f"{licence} AND MIT"


def test_libraries_inside_of_wheels(bill: Sbom) -> None:
    inside = targets(bill, "wheel/image-tool", Link.CONTAINS)
    assert inside == {
        "wheel/image-tool/FreeType@2.13",
        "wheel/image-tool/libjpeg / libjpeg-turbo@3.1",
        "wheel/image-tool/liblcms2-88eaba2f.so.2",
    }
    jpeg = named(bill, "wheel/image-tool/libjpeg / libjpeg-turbo@3.1")
    assert jpeg.licence == "BSD-3-Clause AND IJG"
    (blas,) = targets(bill, "wheel/numpy", Link.CONTAINS)
    found = named(bill, blas)
    sha256 = Digest.of(b"\x7fELF openblas").hex
    assert (found.name, found.version) == ("libscipy_openblas64_", f"sha256:{sha256[:12]}")
    assert found.sha256 == sha256


def test_the_app_with_model_plan_and_photos(bill: Sbom) -> None:
    app = targets(bill, "app/photo-detector", Link.CONTAINS)
    model = "file/opt/enginecrate/app/models/nanodet-g-416.onnx"
    plan = "file/opt/enginecrate/plans/abc123/plan.onnx"
    assert {model, plan} <= app
    assert named(bill, model).kind is Kind.MODEL
    assert named(bill, model).sha256 == Digest.of(MODEL).hex
    assert "RangiLyu" in bill.licence_texts[named(bill, model).licence]
    assert named(bill, plan).sha256 == Digest.of(PLAN).hex
    assert named(bill, plan).summary.startswith("fp32 for cpu, built by onnxruntime 1.32.0")
    assert targets(bill, plan, Link.MADE_FROM) == {model}
    photo = named(bill, "file/opt/enginecrate/app/photos/china.jpg")
    assert (photo.licence, photo.summary) == ("CC-BY-2.0", "scikit-learn")
    assert photo.author.startswith("danielbuechele")
    assert not any("index/" in ref for ref in app)


def test_everything_is_in_the_image_or_in_something_of_it(bill: Sbom) -> None:
    contained = {one.target for one in bill.relations if one.link is Link.CONTAINS}
    assert contained == {one.ref for one in bill.components}
    assert len({one.ref for one in bill.components}) == len(bill.components)


def test_packages_have_the_digests_of_the_lock(bill: Sbom, layout: Layout) -> None:
    assert named(bill, "deb/libc6").sha256 == Digest.of(b"libc6").hex
    assert named(bill, "wheel/image-tool").sha256 == Digest.of(b"image-tool").hex
    unlocked = make_sbom(layout, "v1")
    packages = [one for one in unlocked.of_kind(Kind.DEB, Kind.WHEEL) if one.name != "enginecrate"]
    assert {one.sha256 for one in packages} == {""}
    assert len(unlocked.components) == len(bill.components)


def test_an_image_that_differs_from_its_lock_is_refused(layout: Layout) -> None:
    locked = image_lock()
    other = msgspec.structs.replace(locked.debs[0], version="13", name="gcc-13-base")
    changed = msgspec.structs.replace(locked, debs=(other, *locked.debs[1:]))
    with pytest.raises(ImageInvalid, match=r"not in the lock: deb gcc-12-base 12\.2\.0-14; .*13"):
        make_sbom(layout, "v1", locked=changed)


BASE = "sha256:" + "b" * 64
ON_BASE = {
    **ANNOTATIONS,
    "org.opencontainers.image.base.name": "registry.example.com/jetpack",
    "org.opencontainers.image.base.digest": BASE,
    "io.enginecrate.base-layers": "2",
}


def test_what_a_vendors_base_brings_is_listed_as_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numpy = wheel("numpy", "1.0", "Author: Vendor\n")
    python = [Item(one.path.replace(LIB, "lib/dist-packages"), one.content) for one in numpy]
    layers = [system_items(), python, wheel_items(), app_items(), plan_items()]
    layout = make_image(tmp_path / "image", layers, annotations=ON_BASE)
    locked = msgspec.structs.replace(image_lock(), base="jetpack-6", debs=())
    found = make_sbom(layout, "v1", locked=locked)
    base = named(found, f"base/{BASE}")
    assert (base.kind, base.name) == (Kind.BASE, "registry.example.com/jetpack")
    below = targets(found, base.ref, Link.CONTAINS)
    assert {"deb/libc6", "system/debian", "wheel/numpy@1.0"} < below
    assert below == {one.ref for one in found.components if one.from_base}
    assert base.ref in targets(found, found.subject.ref, Link.CONTAINS)
    assert not named(found, "wheel/numpy").from_base
    assert named(found, "wheel/numpy").sha256 == Digest.of(b"numpy").hex
    text = render_cyclonedx(found).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert "io.enginecrate.from-base-image" in text
    assert spdx_faults(spdx_document(found), monkeypatch) == []
    other = msgspec.structs.replace(locked, wheels=locked.wheels[1:])
    with pytest.raises(ImageInvalid, match=r"not in the lock: wheel numpy 2\.4\.6; "):
        make_sbom(layout, "v1", locked=other)


def test_an_image_that_claims_a_base_which_its_lock_has_not(tmp_path: Path) -> None:
    layers = [system_items(), wheel_items(), app_items()]
    layout = make_image(tmp_path / "image", layers, annotations=ON_BASE)
    with pytest.raises(ImageInvalid, match=r"not in the lock: deb gcc-12-base"):
        make_sbom(layout, "v1", locked=msgspec.structs.replace(image_lock(), debs=()))


def test_this_program_has_the_digest_of_its_record(bill: Sbom) -> None:
    assert named(bill, "wheel/enginecrate").sha256 == Digest.of(b"").hex


def test_one_image_of_an_index(layout: Layout) -> None:
    one = layout.resolve("v1")
    platform = Platform(architecture="amd64", os="linux")
    listed = [msgspec.structs.replace(one, platform=platform)]
    layout.write_manifest(encode(ImageIndex(manifests=tuple(listed))), INDEX, ["single"])
    assert make_sbom(layout, "single").subject.digest == one.digest
    listed.append(msgspec.structs.replace(one, platform=Platform(architecture="arm64", os="linux")))
    layout.write_manifest(encode(ImageIndex(manifests=tuple(listed))), INDEX, ["both"])
    assert make_sbom(layout, "both", platform="linux/arm64").subject.digest == one.digest
    with pytest.raises(ImageNotFound, match=r"linux/amd64, linux/arm64.*--platform"):
        make_sbom(layout, "both")


def test_an_image_of_others_has_a_bill_too(tmp_path: Path) -> None:
    layout = make_image(tmp_path / "image", [[Item("bin/sh", b"\x7fELF")]])
    bill = make_sbom(layout, "v1")
    assert (bill.components, bill.subject.name) == ((), "image")
    manifest = Item("opt/enginecrate/app/enginecrate.toml", b"[app]\n")
    broken = make_image(tmp_path / "broken", [[manifest]])
    with pytest.raises(ImageInvalid, match=r"enginecrate\.toml"):
        make_sbom(broken, "v1")


def test_origins_of_files_from_a_table() -> None:
    texts = LicenceTexts()
    origins = read_origins(
        "Words | with a bar\n\n| file | photo by | licence |\n|---|---|---|\n"
        "| `a.png` | A \\| B | CC0 1.0 |\n| `b.png` | C | ask me |\n\n"
        "| file | sha256 |\n|---|---|\n| `c.png` | `00` |\n",
        texts,
    )
    assert origins.keys() == {"a.png", "b.png"}
    assert (origins["a.png"].licence, origins["a.png"].author) == ("CC0-1.0", "A | B")
    assert texts.used_in([origins["b.png"].licence]) == {origins["b.png"].licence: "ask me"}


def test_the_subject_is_what_the_image_says_of_itself(bill: Sbom, layout: Layout) -> None:
    digest = layout.resolve("v1").digest
    assert bill.subject.digest == digest
    assert bill.subject.platform == "linux/amd64"
    assert bill.subject.purl == f"pkg:oci/photo-detector@{digest}?arch=amd64"
    assert (bill.subject.supplier, bill.subject.licence) == ("example", "Apache-2.0")


def test_strange_images_of_others_are_described_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bill = json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "x", "purl": "pkg:"}, 3]})
    items = [
        *wheel("tool", "1.0", "Home-page: not an address\n"),
        *(Item(f"usr/{one.path}", one.content) for one in wheel("tool", "1.0", "")),
        *(Item(f"srv/{one.path}", one.content) for one in wheel("tool", "2.0", "")),
        *wheel("other", "1", "", **{"sboms__a.json": bill, "sboms__b.json": "no"}),
    ]
    annotations = {"org.opencontainers.image.created": "2026-11-01T09:00:00.5+09:00"}
    layout = make_image(tmp_path / "image", [items], annotations=annotations)
    found = make_sbom(layout, "v1")
    assert {one.ref for one in found.components} == {
        "wheel/tool", "wheel/tool@2.0", "wheel/other", "wheel/other/x@in other 1",
    }  # fmt: skip
    assert found.subject.created == "2026-11-01T00:00:00Z"
    assert (
        JsonStrictValidator(SchemaVersion.V1_6).validate_str(render_cyclonedx(found).decode())
        is None
    )
    assert spdx_faults(spdx_document(found), monkeypatch) == []


def test_a_description_that_is_far_too_large_is_refused(tmp_path: Path) -> None:
    huge = Item("var/lib/dpkg/status", bytes(9 << 20))
    with pytest.raises(ImageInvalid, match=r"/var/lib/dpkg/status has 9,437,184 bytes"):
        make_sbom(make_image(tmp_path / "image", [[huge]]), "v1")
