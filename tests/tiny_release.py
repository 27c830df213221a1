"""A release around an image of a few kilobytes, with everything that a real one has."""

import gzip
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import zstandard

from enginecrate.image.formats.oci import (
    CONFIG,
    INDEX,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST,
    ContainerConfig,
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    Platform,
    RootFs,
    encode,
)
from enginecrate.image.transports.base import ImageSource
from enginecrate.image.transports.layout import Layout
from enginecrate.release.create.release import CreatedRelease, create_release
from enginecrate.release.create.release_image import ReleaseImage
from enginecrate.release.documents.artifacts import CYCLONEDX, IN_TOTO, SPDX, Attachment
from enginecrate.release.keys.keys import PrivateKey, make_key
from enginecrate.release.keys.trust_file import Trust
from enginecrate.release.verify.report import VerifyReport
from enginecrate.release.verify.verification import VerifyOptions, verify_image
from enginecrate.values import Digest, Precision
from enginecrate.values import PlanInfo as Plan
from layered_images import Item, tar_of

TAG = "v1.2.0-ort-cpu"
REPOSITORY = "registry.example.com/isv/colours"
KEY, OTHER_KEY = make_key(), make_key()

HARDENED = ContainerConfig(user="65532:65532", healthcheck={"Test": ["CMD", "/health"]})
"""A configuration that breaks no rule of the audit."""

_TOML = """\
[app]
name = "{app}"
version = "{version}"
[model]
path = "model.onnx"
[pipeline]
task = "tensors"
"""
_STATUS = """\
Package: libc6
Status: install ok installed
Version: 2.36-9+deb12u10

Package: zlib1g
Status: install ok installed
Version: 1:1.2.13.dfsg-1
"""
PURLS = (
    "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64",
    "pkg:deb/debian/zlib1g@1:1.2.13.dfsg-1?arch=amd64",
    "pkg:pypi/ruamel-yaml@1.0",
)


GOLDEN = b'{"format": 1, "samples": [{"input": "red.png", "expected": {}}]}'


def plan_files(content: bytes = b"a plan") -> list[Item]:
    info = Plan(
        backend="onnxruntime", backend_version="1", tool_version="1", stack="ort-cpu",
        platform="linux/amd64", device="cpu", model_digest="", graph_digest="",
        plan_digest=str(Digest.of(content)), plan_bytes=len(content), precision=Precision.FP32,
        inputs=(), outputs=(), max_batch=1,
    )  # fmt: skip
    folder = "opt/enginecrate/plans/abc"
    sidecar = msgspec.json.encode(info)
    return [Item(f"{folder}/plan.onnx", content), Item(f"{folder}/plan.json", sidecar)]


def app_files(app: str = "colours", version: str = "1.2.0", golden: bytes = GOLDEN) -> list[Item]:
    folder = "opt/enginecrate/app"
    return [
        Item(f"{folder}/enginecrate.toml", _TOML.format(app=app, version=version).encode()),
        Item(f"{folder}/enginecrate.lock", b"format = 2\n"),
        Item(f"{folder}/golden/golden.json", golden),
        Item(f"{folder}/golden/README.md", b"No sample."),
        Item(f"{folder}/model.onnx", b"a model"),
    ]


def base_files() -> list[Item]:
    return [
        Item("etc/os-release", b"ID=debian\n"),
        Item("etc/ssl/certs/ca-certificates.crt", b"a certificate\n"),
        Item("usr/share/zoneinfo/UTC", b"TZif2"),
        Item("var/lib/dpkg/status", _STATUS.encode()),
        Item("opt/enginecrate/lib/ruamel.yaml-1.0.dist-info/METADATA",
             b"Metadata-Version: 2.1\nName: ruamel.yaml\nVersion: 1.0\n\n"),
    ]  # fmt: skip


def add_image(
    transport: Layout,
    tag: str = TAG,
    *,
    version: str = "1.2.0",
    app: str = "colours",
    layers: Sequence[Sequence[Item]] | None = None,
    architecture: str = "amd64",
    config: ContainerConfig | None = None,
) -> Descriptor:
    """An image of one platform."""
    layers = layers or [base_files(), app_files(app, version), plan_files()]
    tars = [tar_of(items) for items in layers]
    blobs = []
    for number, tar in enumerate(tars):
        data = zstandard.compress(tar) if number % 2 else gzip.compress(tar, mtime=0)
        blobs.append(transport.add_blob(iter((data,)), LAYER_ZSTD if number % 2 else LAYER_GZIP))
    notes = {
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.created": "2026-01-01T00:00:00Z",
        "io.enginecrate.app": app,
        "io.enginecrate.version": version,
        "io.enginecrate.stack": "ort-cpu",
        "io.enginecrate.release": f"v{version}-release",
    }
    document = encode(
        ImageConfig(
            architecture=architecture,
            os="linux",
            config=config or HARDENED,
            rootfs=RootFs(diff_ids=tuple(Digest.of(tar) for tar in tars)),
        )
    )
    manifest = ImageManifest(
        config=transport.add_blob(iter((document,)), CONFIG), layers=tuple(blobs), annotations=notes
    )
    return transport.write_manifest(encode(manifest), MANIFEST, [tag] if tag else [])


def add_index(transport: Layout, tag: str = TAG) -> Descriptor:
    """An image of two platforms."""
    entries = []
    for architecture in ("amd64", "arm64"):
        one = add_image(transport, "", architecture=architecture)
        platform = Platform(architecture=architecture, os="linux")
        entries.append(msgspec.structs.replace(one, platform=platform))
    notes = {"org.opencontainers.image.version": "1.2.0"}
    index = ImageIndex(manifests=tuple(entries), annotations=notes)
    return transport.write_manifest(encode(index), INDEX, [tag])


def statement(digest: str, predicate_type: str = "https://slsa.dev/provenance/v1") -> bytes:
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "image", "digest": {"sha256": digest[7:]}}],
            "predicateType": predicate_type,
            "predicate": {},
        }
    ).encode()


def documents(digest: str, purls: Sequence[str] = PURLS) -> list[Attachment]:
    cyclonedx = {"bomFormat": "CycloneDX", "components": [{"purl": purl} for purl in purls]}
    references = [{"externalRefs": [{"referenceLocator": purl}]} for purl in purls]
    spdx = {"spdxVersion": "SPDX-2.3", "packages": references}
    provenance = "https://slsa.dev/provenance/v1"
    accuracy = "https://enginecrate.dev/accuracy/v1"
    return [
        Attachment("sbom-cyclonedx", CYCLONEDX, CYCLONEDX, json.dumps(cyclonedx).encode()),
        Attachment("sbom-spdx", SPDX, SPDX, json.dumps(spdx).encode()),
        Attachment("provenance", IN_TOTO, IN_TOTO, statement(digest, provenance), provenance),
        Attachment("evidence-accuracy", IN_TOTO, IN_TOTO, statement(digest, accuracy), accuracy),
    ]


@dataclass(frozen=True)
class TinyRelease:
    transport: Layout
    created: CreatedRelease
    image: Descriptor

    @property
    def listed(self):
        return self.created.release.images[0]

    def blob(self, digest: str) -> Path:
        return self.transport.blob_path(Digest(digest))

    def attachment(self, kind: str):
        return next(one for one in self.listed.attachments if one.kind == kind)

    def copy(self, folder: Path) -> "TinyRelease":
        shutil.copytree(self.transport.folder, folder)
        return TinyRelease(Layout(folder), self.created, self.image)


def make_release(
    folder: Path, keys: Sequence[PrivateKey] = (KEY,), *, index: bool = False, **facts: str
) -> TinyRelease:
    transport = Layout(folder, create=True)
    tag = facts.get("tag", TAG)
    image = add_index(transport, tag) if index else add_image(transport, **facts)
    created = create_release(transport, [release_image(transport, tag)], keys, reference=REPOSITORY)
    return TinyRelease(transport, created, image)


def release_image(transport: Layout, tag: str = TAG) -> ReleaseImage:
    from enginecrate.release.content.image import open_image

    opened = open_image(transport, transport.resolve(tag))
    digests = [one.descriptor.digest for one in opened.platforms]
    return ReleaseImage(tag, {digest: documents(digest) for digest in digests})


def trust(*keys: PrivateKey, require: int = 1) -> Trust:
    named = [(f"key {number}", key.public) for number, key in enumerate(keys or (KEY,), 1)]
    return Trust.of(named, require=require)


def verify(transport: ImageSource, name: str = TAG, whom: Trust | None = None) -> VerifyReport:
    """Without a boot, which tests of its own run."""
    return verify_image(transport, name, whom or trust(), VerifyOptions(audit=True))


def faults(report: VerifyReport) -> dict[str, str]:
    """The rows that failed; several of one name are joined."""
    found: dict[str, str] = {}
    for one in report.checks:
        if one.status == "failed":
            found[one.name] = "\n".join(filter(None, (found.get(one.name), one.detail)))
    return found
