"""Faults of the kinds that audits have missed, each with a harmless twin that looks like it.

Secrets are put together here, so that no scanner of source code takes them for real ones.
"""

import base64
import datetime
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509.oid import NameOID

from image_faults import CONTAINER, GITHUB_TOKEN, PRIVATE_KEY, RANDOM, USER, Fault
from layered_images import Item, folder, hardlink, program, symlink

PASSWORD = "s3cr3t" + "98"
MISSED_TOKEN = GITHUB_TOKEN[:-1] + ("0" if GITHUB_TOKEN[-1] != "0" else "1")
"""Its checksum is wrong: GitHub never issued it."""
SHORT_TOKEN = GITHUB_TOKEN[:-1]
HUB_TOKEN = "hf_" + "qWmXkTzRvBnLpYcHsDfGjKaZoEiUxVwPtN"
PLACEHOLDER = "${HUB_" + "TOKEN}"


@dataclass(frozen=True)
class Plant:
    """A file (or several) that breaks one rule at one path, and entries that break none."""

    kind: str
    rule: str
    path: str
    items: Sequence[Item]
    twin: Sequence[Item]
    base: Sequence[Item] = ()


@dataclass(frozen=True)
class Setting:
    """The same for what is no file: parts of the configuration."""

    kind: str
    rule: str
    fault: dict[str, Any]
    twin: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    twin_facts: dict[str, Any] = field(default_factory=dict)

    def as_fault(self, *, harmless: bool) -> Fault:
        config = {**(self.twin if harmless else self.fault)}
        env = config.pop("Env", ())
        facts = self.twin_facts if harmless else self.facts
        return Fault(self.rule, config=config, env=env, facts=facts)


def text(path: str, content: str, **facts: Any) -> Item:
    return Item(path, content.encode(), **facts)


@cache
def keys() -> dict[str, Any]:
    return {
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "rsa": rsa.generate_private_key(65537, 2048),
        "dsa": dsa.generate_private_key(1024),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }


def private(name: str, form: PrivateFormat, *, encoding: Encoding = Encoding.DER) -> bytes:
    return bytes(keys()[name].private_bytes(encoding, form, NoEncryption()))


def public(name: str, encoding: Encoding = Encoding.DER) -> bytes:
    key = keys()[name].public_key()
    return bytes(key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo))


@cache
def certificate() -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, keys()["ec"].public_key(), 1, start, start)
    return builder.sign(keys()["ec"], hashes.SHA256())


def store(*, key: bool) -> bytes:
    """PKCS #12 with a key, or with certificates to trust alone."""
    sealed = BestAvailableEncryption(PASSWORD.encode())
    if key:
        return serialize_key_and_certificates(b"app", keys()["ec"], certificate(), None, sealed)
    return serialize_key_and_certificates(None, None, None, [certificate()], sealed)


def java_store(*, key: bool, magic: int = 0xFEEDFEED) -> bytes:
    """JKS as the JDK writes it: one entry, and a digest that nobody needs here."""

    def words(value: str) -> bytes:
        return struct.pack(">H", len(value)) + value.encode()

    def sized(value: bytes) -> bytes:
        return struct.pack(">I", len(value)) + value

    issued = words("X.509") + sized(certificate().public_bytes(Encoding.DER))
    tag = struct.pack(">I", 1 if key else 2) + words("app") + bytes(8)
    body = sized(bytes(range(64)) * 4) + struct.pack(">I", 1) + issued if key else issued
    return struct.pack(">III", magic, 2, 1) + tag + body + bytes(20)


def capability(version: int, bits: int) -> bytes:
    """The attribute as Linux keeps it: the version and a flag, then two pairs of words."""
    low, high = bits & 0xFFFFFFFF, bits >> 32
    value = struct.pack("<IIIII", version << 24 | 1, low, 0, high, 0)
    return value + struct.pack("<I", 0) if version == 3 else value


def schily(value: bytes, name: str = "security.capability") -> dict[str, str]:
    return {f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")}


def libarchive(value: bytes, name: str = "security.capability") -> dict[str, str]:
    return {f"LIBARCHIVE.xattr.{name}": base64.b64encode(value).decode().rstrip("=")}


def ssh_key() -> str:
    return private("ed25519", PrivateFormat.OpenSSH, encoding=Encoding.PEM).decode()


def dpkg_list(path: str, content: bytes) -> list[Item]:
    """The lists that dpkg keeps of a package with one file."""
    import hashlib

    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    info = "var/lib/dpkg/info/demo"
    return [
        text(f"{info}.list", f"/.\n/usr\n/{path}\n"),
        text(f"{info}.md5sums", f"{digest}  {path}\n"),
    ]


def der_plants() -> list[Plant]:
    kind, rule = "DER and binary keys", "EC-IMG-030"
    traditional, pkcs8 = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8
    sealed = keys()["rsa"].private_bytes(
        Encoding.DER, pkcs8, BestAvailableEncryption(PASSWORD.encode())
    )
    gnupg = b"Key: (protected-private-key (ecc (curve Ed25519)))\n"
    openpgp = b"\xc5\x58\x04" + bytes(4) + b"\x16" + bytes(range(82))
    signed = certificate().public_bytes(Encoding.DER)
    ring = "root/.gnupg/private-keys-v1.d/" + "0123456789ABCDEF" * 2 + "01234567.key"
    base64_key = base64.b64encode(private("ed25519", pkcs8)).decode()
    return [
        Plant(kind, rule, "srv/k1", [Item("srv/k1", private("ec", pkcs8))],
              [Item("srv/k1", public("ec"))]),
        Plant(kind, rule, "srv/k2.bin", [Item("srv/k2.bin", private("rsa", traditional))],
              [Item("srv/k2.bin", public("rsa"))]),
        Plant(kind, rule, "srv/k3.der", [Item("srv/k3.der", private("ec", traditional))],
              [Item("srv/k3.der", signed)]),
        Plant(kind, rule, "srv/k4.key", [Item("srv/k4.key", private("dsa", traditional))],
              [Item("srv/k4.key", public("dsa"))]),
        Plant(kind, rule, "srv/k5", [Item("srv/k5", sealed)], [Item("srv/k5", sealed[:-9])]),
        Plant(kind, rule, "srv/k6", [Item("srv/k6", private("ed25519", pkcs8))],
              [Item("srv/k6", public("ed25519"))]),
        Plant(kind, rule, "srv/k7.gpg", [Item("srv/k7.gpg", openpgp)],
              [Item("srv/k7.gpg", b"\x99" + openpgp[1:])]),
        Plant(kind, rule, ring, [Item(ring, gnupg)], [Item(ring + ".txt", gnupg)]),
        Plant(kind, rule, "srv/k8.yaml", [text("srv/k8.yaml", f"signing: {base64_key}\n")],
              [text("srv/k8.yaml", f"verify: {base64.b64encode(public('ed25519')).decode()}\n")]),
        Plant(kind, rule, "srv/k9", [text("srv/k9", ssh_key())],
              [text("srv/k9", "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5" * 3)]),
        Plant(kind, rule, "srv/k10.ppk",
              [text("srv/k10.ppk", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n")],
              [text("srv/k10.txt", "PuTTY-User-Key-File-3 is the format of version 3\n")]),
        Plant(kind, rule, "srv/k11.json",
              [text("srv/k11.json", '{"kty": "EC", "crv": "P-256", "d": "' + RANDOM * 3 + '"}')],
              [text("srv/k11.json", '{"kty": "EC", "crv": "P-256", "x": "' + RANDOM * 3 + '"}')]),
        Plant(kind, rule, "etc/wireguard/wg0.conf",
              [text("etc/wireguard/wg0.conf", "PrivateKey = " + RANDOM * 2 + "abA=\n")],
              [text("etc/wireguard/wg0.conf", "PublicKey = " + RANDOM * 2 + "abA=\n")]),
    ]  # fmt: skip


def store_plants() -> list[Plant]:
    kind, rule = "key stores", "EC-IMG-032"
    keytab = struct.pack(">HiHH", 0x0502, 40, 1, 11) + b"EXAMPLE.COM" + bytes(25)
    return [
        Plant(kind, rule, "srv/s1.dat", [Item("srv/s1.dat", store(key=True))],
              [Item("srv/s1.dat", store(key=False))]),
        Plant(kind, rule, "srv/s2.p12", [Item("srv/s2.p12", store(key=True))],
              [Item("srv/s2.p12", store(key=False))]),
        Plant(kind, rule, "srv/s3", [Item("srv/s3", java_store(key=True))],
              [Item("srv/s3", java_store(key=False))]),
        Plant(kind, rule, "srv/s4.jks", [Item("srv/s4.jks", java_store(key=True))],
              [Item("srv/s4.jks", java_store(key=False))]),
        Plant(kind, rule, "srv/s5", [Item("srv/s5", java_store(key=True, magic=0xCECECECE))],
              [Item("srv/s5", java_store(key=False, magic=0xCECECECE))]),
        Plant(kind, rule, "srv/s6", [Item("srv/s6", b"\x03\xd9\xa2\x9a" + bytes(64))],
              [Item("srv/s6", b"\x03\xd9\xa2\x9b" + bytes(64))]),
        Plant(kind, rule, "srv/s7", [Item("srv/s7", keytab)], [Item("srv/s7", keytab[:12])]),
    ]  # fmt: skip


def text_plants() -> list[Plant]:
    line = f"token = {GITHUB_TOKEN}\r\nname = app\r\n"
    harmless = line.replace(GITHUB_TOKEN, MISSED_TOKEN)
    wide, rule = "UTF-16", "EC-IMG-031"
    plants = [
        Plant(wide, rule, f"srv/w-{codec}.txt", [Item(f"srv/w-{codec}.txt", line.encode(codec))],
              [Item(f"srv/w-{codec}.txt", harmless.encode(codec))])
        for codec in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig")
    ]  # fmt: skip
    key = PRIVATE_KEY.encode("utf-16")
    plants.append(Plant(wide, "EC-IMG-030", "srv/w.pem", [Item("srv/w.pem", key)],
                        [Item("srv/w.pem", key[: len(key) // 4])]))  # fmt: skip
    long = "plain words\n" * 500_000
    plants.append(Plant("large texts", rule, "srv/dump.sql",
                        [text("srv/dump.sql", long + line)],
                        [text("srv/dump.sql", long + harmless)]))  # fmt: skip
    return plants


def address_plants() -> list[Plant]:
    kind, rule = "password addresses", "EC-IMG-033"
    secret, known = f"app:{PASSWORD}@", "app:${DB_PASSWORD}@"
    named = {
        "srv/a1.ini": ("dsn = postgresql+psycopg2://{}db:5432/app\n", secret, known),
        "srv/a2.yaml": ("cache: redis://{}cache:6379/0\n", f":{PASSWORD}@", ":changeme@"),
        "srv/a3.sh": ("git clone https://{}git.isv.io/a.git\n", secret, "git@"),
        "srv/a4.properties": ("broker=amqps://{}mq.isv.io\n", secret, "user:password@"),
        "srv/a5.json": ('{{"u": "mongodb+srv://{}c.isv.io/"}}', f"a%40b:{PASSWORD}@", "<u>:<p>@"),
        "etc/pip.conf": ("index-url = https://{}packages.isv.io/simple\n", secret, ""),
    }
    return [
        Plant(kind, rule, path, [text(path, form.format(bad))], [text(path, form.format(good))])
        for path, (form, bad, good) in named.items()
    ]


def history_plants() -> list[Plant]:
    names = (
        "root/.bash_history", "home/a/.zsh_history", "root/.python_history", "root/.psql_history",
        "home/a/.mysql_history", "root/.sqlite_history", "home/a/.node_repl_history",
        "root/.rediscli_history", "root/.ash_history", "root/.lesshst", "home/a/.viminfo",
        "home/a/.local/share/fish/fish_history", "root/.dbshell", "home/a/.Rhistory",
    )  # fmt: skip
    return [
        Plant("shell histories", "EC-IMG-057", path, [text(path, "ls\nmysql -p\n", mode=0o600)],
              [text(path, "", mode=0o600), text(f"{path}.md", "about it\n")])
        for path in names
    ] + [
        Plant("shell histories", "EC-IMG-031", "srv/u/.bash_history",
              [text("srv/u/.bash_history", f"ls\nexport T={GITHUB_TOKEN}\n")],
              [text("srv/u/bash_history", f"ls\nexport T={MISSED_TOKEN}\n")]),
    ]  # fmt: skip


def document_plants() -> list[Plant]:
    kind, key = "keys below usr/share/doc", PRIVATE_KEY.encode()
    path = "usr/share/doc/demo/examples/server.key"
    return [
        Plant(kind, "EC-IMG-030", "usr/share/doc/app/k.pem",
              [Item("usr/share/doc/app/k.pem", key)],
              [Item(path, key), *dpkg_list(path, key)]),
        Plant(kind, "EC-IMG-030", "usr/share/doc/app/k.der",
              [Item("usr/share/doc/app/k.der", private("ec", PrivateFormat.PKCS8))],
              [Item("usr/share/doc/app/k.der", public("ec"))]),
        Plant(kind, "EC-IMG-031", "usr/share/doc/app/README",
              [text("usr/share/doc/app/README", f"use {GITHUB_TOKEN}\n")],
              [text("usr/share/doc/app/README", f"use {MISSED_TOKEN}\n")]),
        Plant(kind, "EC-IMG-030", "usr/local/share/doc/k",
              [Item("usr/local/share/doc/k", key)],
              [Item("usr/local/share/doc/k", public("ec", Encoding.PEM))]),
    ]  # fmt: skip


def repository_plants() -> list[Plant]:
    kind, rule = "repositories", "EC-IMG-058"
    head = b"ref: refs/heads/main\n"
    return [
        Plant(kind, rule, "srv/g1/.git", [Item("srv/g1/.git/HEAD", head)],
              [text("srv/g1/.gitignore", "a\n"), text("srv/g1/.github/HEAD", "x\n")]),
        Plant(kind, rule, "srv/g2/.git", [Item("srv/g2/.git/objects/ab/cd", b"x\x01")],
              [folder("srv/g2/.git"), text("srv/g2/.gitattributes", "* text\n")]),
        Plant(kind, rule, "srv/g3.git", [Item("srv/g3.git/HEAD", head)],
              [text("srv/g3.git", "gitdir: x\n")]),
        Plant(kind, rule, "srv/g4/.hg", [Item("srv/g4/.hg/store/00changelog.i", b"\0")],
              [text("srv/g4/.hgignore", "a\n")]),
        Plant(kind, rule, "srv/g5/.svn", [Item("srv/g5/.svn/wc.db", b"SQLite")],
              [text("srv/g5/.svnignore", "a\n")]),
        Plant(kind, rule, "srv/g6/.git", [Item("srv/g6/.wh..git")],
              [Item("srv/g6/.wh..gitkeep")], base=[Item("srv/g6/.git/HEAD", head)]),
    ]  # fmt: skip


def sudo_plants() -> list[Plant]:
    kind, rule, line = "sudoers.d", "EC-IMG-019", "app ALL=(ALL) NOPASSWD: ALL\n"
    return [
        Plant(kind, rule, "etc/sudoers.d/app", [text("etc/sudoers.d/app", line, mode=0o440)],
              [text("etc/sudoers.d/README", f"# {line}", mode=0o440)]),
        Plant(kind, rule, "etc/sudoers.d/90-ops",
              [text("etc/sudoers.d/90-ops", "Defaults !lecture\n%ops  ALL = ALL\n")],
              [text("etc/sudoers.d/90-ops", "Defaults !lecture\n")]),
        Plant(kind, rule, "etc/sudoers", [text("etc/sudoers", "%sudo ALL=(ALL) NOPASSWD:ALL\n")],
              [text("etc/sudoers", "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n")]),
        Plant(kind, rule, "etc/doas.conf", [text("etc/doas.conf", "permit nopass app as root\n")],
              [text("etc/doas.conf", "# permit nopass app\n"),
               text("etc/sudoers.d/old.bak", line)]),
    ]  # fmt: skip


def shell_plants() -> list[Plant]:
    kind, rule = "shells anywhere", "EC-IMG-020"
    code = {
        "srv/t/helper": b"BusyBox is copyrighted by many authors",
        "opt/app/run": b"@(#)Bash version 5.2",
        "srv/t/d": b"Bad for loop variable",
        "srv/t/posix": b"PPID\0OPTIND",
        "srv/t/wide": "histchars".encode("utf-32-le"),
    }
    plants = [
        Plant(kind, rule, path, [Item(path, b"\x7fELF\0" + mark + b"\0", 0o755)],
              [Item(path, b"\x7fELF\0" + mark[:-3].lower() + b"\0", 0o755)])
        for path, mark in code.items()
    ]  # fmt: skip
    for path in ("srv/t/zsh", "var/lib/x/sh", "opt/app/lib/busybox"):
        twin = [Item(path, b"# completion for it\n", 0o644), program(f"{path}x")]
        plants.append(Plant(kind, rule, path, [program(path)], twin))
    return plants


def timer_plants() -> list[Plant]:
    kind, rule = "timers", "EC-IMG-028"
    unit, job = "[Timer]\nOnCalendar=daily\n", "5 * * * * root /srv/x\n"
    owned = "usr/lib/systemd/system/apt-daily.timer"
    listed = text("var/lib/dpkg/info/apt.list", "/.\n/lib/systemd/system/apt-daily.timer\n")
    idle = "# nothing\nSHELL=/bin/sh\n\n"
    paths = {
        "etc/cron.d/job": (job, idle), "etc/crontab": (job, idle),
        "var/spool/cron/crontabs/app": ("5 * * * * /srv/x\n", idle),
        "etc/crontabs/root": ("5 * * * * /srv/x\n", idle),
    }  # fmt: skip
    plants = [
        Plant(kind, rule, path, [text(path, bad)], [text(path, good)])
        for path, (bad, good) in paths.items()
    ]
    return [
        *plants,
        Plant(kind, rule, "etc/systemd/system/a.timer",
              [text("etc/systemd/system/a.timer", unit)],
              [text("etc/systemd/system/a.service", unit)]),
        Plant(kind, rule, "usr/lib/systemd/system/b.timer",
              [text("usr/lib/systemd/system/b.timer", unit)], [text(owned, unit), listed]),
        Plant(kind, rule, "home/a/.config/systemd/user/c.timer",
              [text("home/a/.config/systemd/user/c.timer", unit)],
              [symlink("etc/systemd/system/timers.target.wants/apt-daily.timer", f"/{owned}")]),
        Plant(kind, rule, "etc/cron.daily/d",
              [text("etc/cron.daily/d", "#!/bin/sh\n", mode=0o755)],
              [text("etc/cron.daily/.placeholder", "# kept\n")]),
    ]  # fmt: skip


def capability_plants() -> list[Plant]:
    kind, rule, raw = "capabilities", "EC-IMG-011", 1 << 13
    none = {"nothing": capability(2, 0)}
    forms = {
        "srv/c1": (schily(capability(2, raw)), schily(none["nothing"])),
        "srv/c2": (schily(capability(3, raw)), schily(capability(3, 0))),
        "srv/c3": (libarchive(capability(2, raw)), libarchive(none["nothing"])),
        "srv/c4": (libarchive(capability(3, 1 << 39)), libarchive(b"label", "security.selinux")),
        "srv/c5": (schily(b"\1"), schily(b"label", "security.selinux")),
    }
    plants = [
        Plant(kind, rule, path, [program(path, pax=bad)], [program(path, pax=good)])
        for path, (bad, good) in forms.items()
    ]
    linked = Item(**{**hardlink("srv/c7", "srv/c6").__dict__, "pax": schily(capability(2, raw))})
    plants.append(Plant(kind, rule, "srv/c7", [program("srv/c6"), linked],
                        [program("srv/c6"), hardlink("srv/c7", "srv/c6")]))  # fmt: skip
    setuid = Item(**{**hardlink("srv/c9", "srv/c8").__dict__, "mode": 0o4755})
    plants.append(Plant("setuid at a hard link", "EC-IMG-010", "srv/c9",
                        [program("srv/c8"), setuid],
                        [program("srv/c8"), hardlink("srv/c9", "srv/c8")]))  # fmt: skip
    return plants


def name_plants() -> list[Plant]:
    kind, rule = "tokens in names", "EC-IMG-063"
    login = f"https://app:{PASSWORD}@db.isv.io/x"
    return [
        Plant(kind, rule, "srv/n1-[redacted].txt", [text(f"srv/n1-{GITHUB_TOKEN}.txt", "x")],
              [text(f"srv/n1-{SHORT_TOKEN}.txt", "x")]),
        Plant(kind, rule, "srv/[redacted]", [folder(f"srv/{HUB_TOKEN}")],
              [folder("srv/hf_transfer-0.1.9.dist-info")]),
        Plant(kind, rule, "srv/n3", [symlink("srv/n3", f"/run/{GITHUB_TOKEN}")],
              [symlink("srv/n3", f"/run/{SHORT_TOKEN}")]),
        Plant(kind, rule, "srv/n4", [symlink("srv/n4", login)],
              [symlink("srv/n4", "/run/db.isv.io")]),
        Plant(kind, rule, "srv/n5",
              [text("srv/n5", "x", pax=schily(GITHUB_TOKEN.encode(), "user.note"))],
              [text("srv/n5", "x", pax=schily(SHORT_TOKEN.encode(), "user.note"))]),
        Plant(kind, rule, "srv/n6",
              [text("srv/n6", "x", pax=libarchive(GITHUB_TOKEN.encode(), "user.note"))],
              [text("srv/n6", "x", pax=libarchive(b"checked", "user.note"))]),
        Plant(kind, rule, "srv/n7/[redacted]", [Item(f"srv/n7/.wh.{GITHUB_TOKEN}")],
              [Item(f"srv/n7/.wh.{SHORT_TOKEN}")],
              base=[text(f"srv/n7/{GITHUB_TOKEN}", "x"), text(f"srv/n7/{SHORT_TOKEN}", "x")]),
    ]  # fmt: skip


def plants() -> list[Plant]:
    return [
        *der_plants(), *store_plants(), *text_plants(), *address_plants(), *history_plants(),
        *document_plants(), *repository_plants(), *sudo_plants(), *shell_plants(),
        *timer_plants(), *capability_plants(), *name_plants(),
    ]  # fmt: skip


def check(*words: str) -> dict[str, Any]:
    return {"Healthcheck": {"Test": list(words)}}


def labelled(**labels: str) -> dict[str, Any]:
    return {"Labels": {**CONTAINER["Labels"], **labels}}


def built(command: str) -> dict[str, Any]:
    return {"history": [{"created_by": command}]}


SECRET_FILE = "--token-file=/run/secrets/token"
LOGIN = f"postgres://app:{PASSWORD}@db.isv.io/app"
OPEN_LOGIN = "postgres://app@db.isv.io/app"
PASSWD = "root:x:0:0::/:/none\nnonroot:x:65532:65532::/:/none\n"

SETTINGS = {
    "token in Cmd": Setting(
        "start", "EC-IMG-056", {"Cmd": [GITHUB_TOKEN]}, {"Cmd": [SHORT_TOKEN]}
    ),
    "token in Entrypoint": Setting(
        "start", "EC-IMG-056", {"Entrypoint": ["/usr/bin/app", f"--hub={HUB_TOKEN}"]},
        {"Entrypoint": ["/usr/bin/app", SECRET_FILE]},
    ),
    "password option": Setting(
        "start", "EC-IMG-056", {"Cmd": ["--password", PASSWORD]}, {"Cmd": ["--password", "$PW"]}
    ),
    "address in Cmd": Setting("start", "EC-IMG-056", {"Cmd": [LOGIN]}, {"Cmd": [OPEN_LOGIN]}),
    "token in the health check": Setting(
        "start", "EC-IMG-056", check("CMD", "/usr/bin/app", GITHUB_TOKEN),
        check("CMD", "/usr/bin/app", SECRET_FILE),
    ),
    "token in OnBuild": Setting(
        "start", "EC-IMG-056", {"OnBuild": [f"ENV T={GITHUB_TOKEN}"]}, {"OnBuild": ["ENV T=a"]}
    ),
    "address in Env": Setting("address", "EC-IMG-036", {"Env": [f"DB={LOGIN}"]},
                              {"Env": [f"DB={OPEN_LOGIN}"]}),
    "Redis in Env": Setting("address", "EC-IMG-036", {"Env": [f"R=redis://:{PASSWORD}@c.isv.io"]},
                            {"Env": ["R=redis://:${PW}@c.isv.io"]}),
    "token in Env": Setting("token", "EC-IMG-036", {"Env": [f"HUB={HUB_TOKEN}"]},
                            {"Env": [f"HUB={PLACEHOLDER}"]}),
    "token in a label": Setting("token", "EC-IMG-038", labelled(note=HUB_TOKEN),
                                labelled(note="hf_transfer is faster than the plain download")),
    "address in a label": Setting("address", "EC-IMG-038", labelled(db=LOGIN),
                                  labelled(db=OPEN_LOGIN)),
    "token in the history": Setting("token", "EC-IMG-039", {}, {}, built(f"RUN get {HUB_TOKEN}"),
                                    built("RUN get hf_transfer")),
    "option in the history": Setting("token", "EC-IMG-039", {}, {},
                                     built(f"RUN login --password {PASSWORD}"),
                                     built("RUN login --password-stdin")),
    "address in the history": Setting("address", "EC-IMG-039", {}, {}, built(f"RUN psql {LOGIN}"),
                                      built(f"RUN psql {OPEN_LOGIN}")),
    "group 0": Setting("group", "EC-IMG-007", {"User": f"{USER}:0"}, {"User": f"{USER}:1"}),
    "group root": Setting("group", "EC-IMG-007", {"User": f"{USER}:root"},
                          {"User": f"{USER}:nonroot"}),
    "no group": Setting("group", "EC-IMG-007", {"User": "4711"}, {"User": str(USER)}),
    "user 2^31": Setting("range", "EC-IMG-008", {"User": f"{1 << 31}:1"},
                         {"User": f"{(1 << 31) - 1}:1"}),
    "user 2^32": Setting("range", "EC-IMG-008", {"User": f"{1 << 32}:1"}, {"User": "65534:65534"}),
    "user -1": Setting("range", "EC-IMG-008", {"User": "-1:1"}, {"User": "1:1"}),
    "user of 5000 digits": Setting("range", "EC-IMG-008", {"User": "9" * 5000 + ":1"},
                                   {"User": "9" * 9 + ":1"}),
    "group beyond": Setting("range", "EC-IMG-008", {"User": f"{USER}:{1 << 40}"},
                            {"User": f"{USER}:{USER}"}),
    "user that is not there": Setting("range", "EC-IMG-002", {"User": "nobody:1"}, {"User": "9:1"}),
    "CMD-SHELL": Setting("health", "EC-IMG-059", check("CMD-SHELL", "app --healthcheck"),
                         check("CMD", "app", "--healthcheck")),
    "sh -c": Setting("health", "EC-IMG-059", check("CMD", "/bin/sh", "-c", "app"),
                     check("CMD", "/bin/ship", "-c", "app")),
    "env bash": Setting("health", "EC-IMG-059", check("CMD", "/usr/bin/env", "A=1", "bash", "x"),
                        check("CMD", "/usr/bin/env", "A=1", "app", "bash")),
    "busybox": Setting("health", "EC-IMG-059", check("CMD", "busybox", "wget", "x"),
                       check("CMD", "wgetter", "busybox")),
    "tini and a shell": Setting("start", "EC-IMG-042",
                                {"Entrypoint": ["/sbin/tini", "--", "/bin/sh", "-c", "app"]},
                                {"Entrypoint": ["/sbin/tini", "--", "/usr/bin/app"]}),
}  # fmt: skip
