"""A clean image, and single faults to plant in it: each breaks exactly one rule."""

import json
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginecrate.image.audit.rules.checksums import base62
from enginecrate.image.formats.oci import CONFIG, EMPTY, EMPTY_DATA, MANIFEST, ImageManifest, encode
from enginecrate.image.transports.layout import Layout
from layered_images import (
    Item,
    add_image,
    folder,
    hardlink,
    program,
    symlink,
)

USER = 65532
TAG = "v1.2.0-ort-cpu"

BASE = [
    folder("etc"),
    Item("etc/passwd", b"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/:/none\n"),
    Item("etc/group", b"root:x:0:\nnonroot:x:65532:\n"),
    Item("etc/shadow", b"root:*:19000::::::\nnonroot:!:19000::::::\n", 0o640),
    Item("etc/os-release", b"ID=debian\n"),
    Item("etc/ssl/certs/ca-certificates.crt", b"-----BEGIN CERTIFICATE-----\nMIIB\n"),
    Item("usr/share/zoneinfo/UTC", b"TZif2"),
    Item("var/lib/dpkg/status", b"Package: tzdata\n"),
    folder("tmp", 0o1777),
    folder("var/cache/app", uid=USER, gid=USER),
    symlink("etc/mtab", "/proc/mounts"),
    symlink("usr/share/localtime", "zoneinfo/UTC"),
]
APP = [
    program("usr/bin/app"),
    Item("opt/app/main.py", b"import json\nTOKEN = None  # password = 'changeme'\n"),
    # What scanners with less care would tell of.
    Item("opt/app/public.pem", b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0D\n"),
    Item("opt/app/settings.toml", b'password = "${DB_PASSWORD}"\nurl = "http://user:pass@host/"\n'),
    Item("usr/lib/python3/dist-packages/app/tests/key.pem", b""),
    Item("usr/lib/libssl.so", b"\0-----BEGIN PRIVATE KEY-----\0-----BEGIN RSA PRIVATE KEY-----\0"),
]
CONTAINER = {
    "User": f"{USER}:{USER}",
    "Entrypoint": ["/usr/bin/app"],
    "Env": ["PATH=/usr/bin", "LANG=C.UTF-8", "API_TOKEN_FILE=/run/secrets/token"],
    "ExposedPorts": {"8000/tcp": {}},
    "Healthcheck": {"Test": ["CMD", "/usr/bin/app", "--healthcheck"]},
    "Labels": {"org.opencontainers.image.source": "https://example.com/app"},
}
ANNOTATIONS = {
    "org.opencontainers.image.licenses": "Apache-2.0",
    "org.opencontainers.image.version": "1.2.0",
}


@dataclass(frozen=True)
class Fault:
    """What is planted, the rule that must find it, and where.

    base, app: more entries of the two layers; without: paths that are left out of both.
    config: changes of the container's configuration; `None` removes a key.
    """

    rule: str
    path: str = ""
    app: Sequence[Item] = ()
    base: Sequence[Item] = ()
    without: Sequence[str] = ()
    config: dict[str, Any] = field(default_factory=dict)
    env: Sequence[str] = ()
    layer: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    tag: str = TAG
    signed: bool = True


def plant(folder_path: Path, *faults: Fault) -> Layout:
    """The clean image with faults, tagged as the first of them says."""
    layout = Layout(folder_path, create=True)
    without = {path for fault in faults for path in fault.without}
    base = [*BASE, *(item for fault in faults for item in fault.base)]
    app = [*APP, *(item for fault in faults for item in fault.app)]
    config: dict[str, Any] = {**CONTAINER}
    for fault in faults:
        config |= fault.config
        config["Env"] = [*config["Env"], *fault.env]
    facts = {key: value for fault in faults for key, value in fault.facts.items()}
    tag = faults[0].tag if faults else TAG
    image = add_image(
        layout,
        [[item for item in items if item.path not in without] for items in (base, app)],
        tag=tag,
        config={key: value for key, value in config.items() if value is not None},
        **{"annotations": ANNOTATIONS, **facts},
    )
    if all(fault.signed for fault in faults):
        signature = ImageManifest(
            artifact_type="application/vnd.dev.sigstore.bundle.v0.3+json",
            config=layout.add_blob(iter((EMPTY_DATA,)), EMPTY),
            layers=(layout.add_blob(iter((b"{}",)), CONFIG),),
            subject=image,
        )
        layout.write_manifest(encode(signature), MANIFEST)
    return layout


# Made up for this test: the form is right, the values are nobody's. They are put together here, so
# that no scanner of source code takes them for real ones.
KEY_BODY = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgq5vJr8s1QpK3Zt7x\nYw9Lk2Hn4Vd"
PRIVATE_KEY = f"-----BEGIN {'PRIVATE'} KEY-----\n{KEY_BODY}\n-----END {'PRIVATE'} KEY-----\n"
AWS_KEY = "AKIA" + "QX7RWZ3NTLBVC2MD"
GITHUB_BODY = "x8KqT2mVb7RzNc4LpW9sYd1HfJ6gAe"
GITHUB_TOKEN = f"ghp_{GITHUB_BODY}{base62(zlib.crc32(GITHUB_BODY.encode()), 6).decode()}"
RANDOM = "q7Rz" + "K2mVb8xNc4Lp9sYd"


def secret(path: str, text: str) -> Item:
    return Item(path, text.encode())


def docker_login() -> str:
    return json.dumps({"auths": {"registry.example.com": {"auth": "dXNlcjpzM2NyM3Q5OA=="}}})


FAULTS = {
    "root": Fault("EC-IMG-001", config={"User": None}),
    "root by number": Fault("EC-IMG-001", config={"User": "0:0"}),
    "root by name": Fault("EC-IMG-001", config={"User": "root"}),
    "user by name": Fault("EC-IMG-002", config={"User": "nonroot"}),
    "no password": Fault(
        "EC-IMG-003", "etc/shadow", app=[Item("etc/shadow", b"root::19000:::\n", 0o600)]
    ),
    "password hash": Fault(
        "EC-IMG-004", "etc/shadow", app=[Item("etc/shadow", b"root:$6$ab$cd:1:::\n", 0o600)]
    ),
    "shadow for everybody": Fault(
        "EC-IMG-005", "etc/shadow", app=[Item("etc/shadow", b"root:*:19000:::\n", 0o644)]
    ),
    "second root": Fault(
        "EC-IMG-006", "etc/passwd", app=[Item("etc/passwd", b"root:x:0:0::\ntoor:x:0:0::\n")]
    ),
    "group of root": Fault("EC-IMG-007", config={"User": f"{USER}:0"}),
    "no group": Fault("EC-IMG-007", config={"User": "4711"}),
    "user beyond the range": Fault("EC-IMG-008", config={"User": "4294967295:65532"}),
    "group that is not there": Fault("EC-IMG-008", config={"User": f"{USER}:staff"}),
    "sudoers": Fault(
        "EC-IMG-019", "etc/sudoers.d/app",
        app=[Item("etc/sudoers.d/app", b"# for the app\napp ALL=(ALL) NOPASSWD: ALL\n", 0o440)],
    ),
    "setuid": Fault("EC-IMG-010", "usr/bin/tool", app=[program("usr/bin/tool", mode=0o4755)]),
    "setgid": Fault("EC-IMG-010", "usr/bin/tool", app=[program("usr/bin/tool", mode=0o2755)]),
    "capabilities": Fault(
        "EC-IMG-011", "usr/bin/tool",
        app=[program("usr/bin/tool", pax={"SCHILY.xattr.security.capability": "\1"})],
    ),
    "writable file": Fault("EC-IMG-012", "etc/conf", app=[Item("etc/conf", b"x", 0o666)]),
    "writable folder": Fault("EC-IMG-012", "srv", app=[folder("srv", 0o777)]),
    "own code": Fault(
        "EC-IMG-013", "srv/app",
        app=[folder("srv/app", uid=USER), Item("srv/app/a.py", b"#", uid=USER)],
    ),
    "code in an own folder": Fault(
        "EC-IMG-013", "srv/app", app=[folder("srv/app", uid=USER), Item("srv/app/a.py", b"#")]
    ),
    "own folder": Fault("EC-IMG-014", "home/app", app=[folder("home/app", uid=USER)]),
    "device": Fault("EC-IMG-015", "srv/mem", app=[Item("srv/mem", type=tarfile.CHRTYPE)]),
    "link out": Fault("EC-IMG-016", "srv/out", app=[symlink("srv/out", "../../etc/shadow")]),
    "dangling link": Fault("EC-IMG-017", "srv/gone", app=[symlink("srv/gone", "missing")]),
    "ld.so.preload": Fault(
        "EC-IMG-018", "etc/ld.so.preload", app=[Item("etc/ld.so.preload", b"/lib/evil.so\n")]
    ),
    "shell": Fault("EC-IMG-020", "usr/bin/dash", base=[program("usr/bin/dash")], layer=1),
    "shell through links": Fault(
        "EC-IMG-020", "usr/bin/bash",
        app=[program("usr/bin/bash"), symlink("usr/bin/sh", "bash"),
             hardlink("usr/bin/rbash", "usr/bin/bash")],
    ),
    "shell in a hidden place": Fault(
        "EC-IMG-020", "busybox/sh", app=[program("busybox/tool"), symlink("busybox/sh", "tool")]
    ),
    "shell anywhere": Fault("EC-IMG-020", "srv/tools/bash", app=[program("srv/tools/bash")]),
    "shell under another name": Fault(
        "EC-IMG-020", "srv/tools/helper",
        app=[Item("srv/tools/helper", b"\x7fELF\0BusyBox is copyrighted by many authors", 0o755)],
    ),
    "apt": Fault("EC-IMG-021", "usr/bin/apt-get", base=[program("usr/bin/apt-get")], layer=1),
    "pip": Fault(
        "EC-IMG-021", "opt/venv/lib/python3.11/site-packages/pip/__init__.py",
        app=[Item("opt/venv/lib/python3.11/site-packages/pip/__init__.py", b"#")],
    ),
    "compiler": Fault(
        "EC-IMG-022", "usr/bin/x86_64-linux-gnu-gcc-12",
        app=[program("usr/bin/x86_64-linux-gnu-gcc-12"),
             symlink("usr/bin/gcc", "x86_64-linux-gnu-gcc-12")],
    ),
    "nvcc": Fault(
        "EC-IMG-022", "usr/local/cuda-13.0/bin/nvcc", app=[program("usr/local/cuda-13.0/bin/nvcc")]
    ),
    "headers": Fault(
        "EC-IMG-023", "usr/include",
        app=[folder("usr/include"), Item("usr/include/a.h"), Item("usr/include/b/c.h")],
    ),
    "sshd": Fault("EC-IMG-024", "usr/sbin/sshd", app=[program("usr/sbin/sshd")]),
    "ssh": Fault("EC-IMG-025", "usr/bin/ssh", app=[program("usr/bin/ssh")]),
    "host key": Fault(
        "EC-IMG-026", "etc/ssh/ssh_host_rsa_key", app=[secret("etc/ssh/ssh_host_rsa_key", "key")]
    ),
    "authorized keys": Fault(
        "EC-IMG-026", "root/.ssh/authorized_keys",
        app=[Item("root/.ssh/authorized_keys", b"ssh-ed25519 AAAA me\n", 0o600)],
    ),
    "sudo": Fault("EC-IMG-027", "usr/bin/sudo", app=[program("usr/bin/sudo")]),
    "cron": Fault("EC-IMG-028", "usr/sbin/cron", app=[program("usr/sbin/cron")]),
    "curl": Fault("EC-IMG-029", "usr/bin/curl", app=[program("usr/bin/curl")]),
    "crontab": Fault(
        "EC-IMG-028", "etc/cron.d/job", app=[Item("etc/cron.d/job", b"* * * * * root /srv/x\n")]
    ),
    "timer": Fault(
        "EC-IMG-028", "etc/systemd/system/job.timer",
        app=[Item("etc/systemd/system/job.timer", b"[Timer]\nOnCalendar=daily\n")],
    ),
    "private key": Fault("EC-IMG-030", "srv/tls.key", app=[secret("srv/tls.key", PRIVATE_KEY)]),
    "private key in code": Fault(
        "EC-IMG-030", "srv/a.py", app=[secret("srv/a.py", repr(PRIVATE_KEY))]
    ),
    "cloud key": Fault("EC-IMG-031", "srv/run.cfg", app=[secret("srv/run.cfg", f"id={AWS_KEY}")]),
    "token in an installed package": Fault(
        "EC-IMG-031", "usr/lib/python3/dist-packages/leaky/client.py",
        app=[secret("usr/lib/python3/dist-packages/leaky/client.py", f"T = '{GITHUB_TOKEN}'")],
    ),
    "token in compiled code": Fault(
        "EC-IMG-031", "srv/a.pyc", app=[Item("srv/a.pyc", b"\0\1" + GITHUB_TOKEN.encode() + b"\0")]
    ),
    "registry login": Fault(
        "EC-IMG-032", "root/.docker/config.json",
        app=[secret("root/.docker/config.json", docker_login())],
    ),
    "netrc": Fault(
        "EC-IMG-032", "root/.netrc",
        app=[secret("root/.netrc", "machine example.com login me password s3cr3t98")],
    ),
    "npmrc": Fault(
        "EC-IMG-032", "srv/.npmrc",
        app=[secret("srv/.npmrc", f"//registry.example.com/:_authToken={RANDOM}")],
    ),
    "pypirc": Fault(
        "EC-IMG-032", "root/.pypirc",
        app=[secret("root/.pypirc", "[main]\nusername = me\npassword = s3cr3t98\n")],
    ),
    "env file": Fault(
        "EC-IMG-032", "srv/.env", app=[secret("srv/.env", "DEBUG=1\nDB_PASSWORD=s3cr3t98\n")]
    ),
    "kubeconfig": Fault(
        "EC-IMG-032", "srv/config",
        app=[secret("srv/config", f"current-context: a\nusers:\n- user:\n    token: {RANDOM}\n")],
    ),
    "key store": Fault("EC-IMG-032", "srv/id.p12", app=[Item("srv/id.p12", b"0\x82\0\1")]),
    "password in an address": Fault(
        "EC-IMG-033", "etc/pip.conf",
        app=[secret("etc/pip.conf", "index-url = https://me:s3cr3t98@packages.isv.io/simple")],
    ),
    "random value": Fault(
        "EC-IMG-034", "srv/a.yaml", app=[secret("srv/a.yaml", f'api_key: "{RANDOM}"\n')]
    ),
    "removed secret": Fault(
        "EC-IMG-035", "srv/tls.key", base=[secret("srv/tls.key", PRIVATE_KEY)],
        app=[Item("srv/.wh.tls.key")], layer=1,
    ),
    "replaced secret": Fault(
        "EC-IMG-035", "srv/.env", base=[secret("srv/.env", "API_TOKEN=s3cr3t98\n")],
        app=[Item("srv/.env", b"API_TOKEN=\n")], layer=1,
    ),
    "token in the environment": Fault("EC-IMG-036", env=[f"GH={GITHUB_TOKEN}"]),
    "address in the environment": Fault(
        "EC-IMG-036", env=["DATABASE=postgres://app:s3cr3t98@db:5432/app"]
    ),
    "password in the environment": Fault("EC-IMG-037", env=["DB_PASSWORD=s3cr3t98"]),
    "secret in a label": Fault(
        "EC-IMG-038", config={"Labels": {**CONTAINER["Labels"], "com.isv.token": RANDOM}}
    ),
    "secret in an annotation": Fault(
        "EC-IMG-038", facts={"annotations": {**ANNOTATIONS, "com.isv.note": GITHUB_TOKEN}}
    ),
    "build argument": Fault(
        "EC-IMG-039",
        facts={"history": [{"created_by": f"RUN |1 PIP_TOKEN={RANDOM} /bin/sh -c make"}]},
    ),
    "undeclared port": Fault("EC-IMG-040", config={"ExposedPorts": {"9999/tcp": {}}}),
    "low port": Fault("EC-IMG-041", config={"ExposedPorts": {"80/tcp": {}, "8000/tcp": {}}}),
    "shell form": Fault(
        "EC-IMG-042", config={"Entrypoint": ["/bin/sh", "-c", "exec /usr/bin/app"]}
    ),
    "no health check": Fault("EC-IMG-043", config={"Healthcheck": None}),
    "health check switched off": Fault("EC-IMG-043", config={"Healthcheck": {"Test": ["NONE"]}}),
    "stop signal": Fault("EC-IMG-045", config={"StopSignal": "SIGKILL"}),
    "docker.sock": Fault("EC-IMG-046", config={"Volumes": {"/var/run/docker.sock": {}}}),
    "LD_PRELOAD": Fault("EC-IMG-047", env=["LD_PRELOAD=/usr/lib/libjemalloc.so"]),
    "empty entry of PATH": Fault("EC-IMG-048", env=["PATH=/usr/bin:"]),
    "current folder for Python": Fault("EC-IMG-048", env=["PYTHONPATH=.:/opt/app"]),
    "writable folder in PATH": Fault(
        "EC-IMG-049", "var/cache/app/bin", env=["PATH=/usr/bin:/var/cache/app/bin"]
    ),
    "all of the driver": Fault("EC-IMG-050", env=["NVIDIA_DRIVER_CAPABILITIES=all"]),
    "telemetry": Fault(
        "EC-IMG-051", "opt/app/lib/onnxruntime-1.32.0.dist-info/METADATA",
        app=[Item("opt/app/lib/onnxruntime-1.32.0.dist-info/METADATA", b"Name: onnxruntime\n")],
    ),
    "only latest": Fault("EC-IMG-052", tag="latest"),
    "no labels": Fault("EC-IMG-053", facts={"annotations": {}}),
    "python -m": Fault("EC-IMG-055", config={"Entrypoint": ["python3", "-u", "-m", "app"]}),
    "token in the command": Fault("EC-IMG-056", config={"Cmd": ["--hub", GITHUB_TOKEN]}),
    "password option": Fault("EC-IMG-056", config={"Cmd": ["--db-password=s3cr3t98"]}),
    "shell history": Fault(
        "EC-IMG-057", "root/.bash_history", app=[Item("root/.bash_history", b"ls\n", 0o600)]
    ),
    "git": Fault(
        "EC-IMG-058", "srv/app/.git",
        app=[folder("srv/app/.git"), Item("srv/app/.git/HEAD", b"ref: refs/heads/main\n")],
    ),
    "health check through a shell": Fault(
        "EC-IMG-059", config={"Healthcheck": {"Test": ["CMD-SHELL", "app --healthcheck"]}}
    ),
    "token in a name": Fault(
        "EC-IMG-063", "srv/[redacted].txt", app=[Item(f"srv/{GITHUB_TOKEN}.txt", b"x")]
    ),
    "token in a link": Fault("EC-IMG-063", "srv/l", app=[symlink("srv/l", f"/{GITHUB_TOKEN}")]),
    "no certificates": Fault(
        "EC-IMG-060", "etc/ssl/certs/ca-certificates.crt",
        without=["etc/ssl/certs/ca-certificates.crt"],
    ),
    "no time zones": Fault(
        "EC-IMG-061", "usr/share/zoneinfo",
        without=["usr/share/zoneinfo/UTC", "usr/share/localtime"],
    ),
    "no package list": Fault(
        "EC-IMG-062", "var/lib/dpkg/status", without=["var/lib/dpkg/status"]
    ),
    "not signed": Fault("EC-IMG-070", signed=False),
    "ADD": Fault(
        "EC-IMG-071",
        facts={"history": [{"created_by": "ADD https://example.com/a.bin /srv/ # buildkit"}]},
    ),
    "foreign layer": Fault(
        "EC-IMG-072", layer=2,
        facts={"media_types": ["application/vnd.oci.image.layer.v1.tar+gzip",
                               "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"]},
    ),
    "encrypted layer": Fault(
        "EC-IMG-073", layer=2,
        facts={"media_types": ["application/vnd.oci.image.layer.v1.tar+gzip",
                               "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"]},
    ),
    "waste": Fault(
        "EC-IMG-074", "srv/big", base=[Item("srv/big", bytes(2 << 20))],
        app=[Item("srv/.wh.big")], layer=1,
    ),
}  # fmt: skip
