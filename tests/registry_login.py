"""What registries check: certificates, passwords and tokens, made for tests."""

import base64
import datetime
import ipaddress
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

USER, PASSWORD = "vendor", "open sesame"
HTPASSWD = f"{USER}:$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy\n"
"""bcrypt of the password, the one form that the registry takes."""


def make_certificate(folder: Path) -> tuple[Path, Path, Path]:
    """Files of a private authority, and of a certificate by it for 127.0.0.1 with its key."""
    folder.mkdir(parents=True, exist_ok=True)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate("test authority", authority_key, None)
    leaf = _certificate("127.0.0.1", key, (authority, authority_key))
    paths = folder / "ca.crt", folder / "server.crt", folder / "server.key"
    paths[0].write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    paths[2].write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ))  # fmt: skip
    return paths


def _certificate(name: str, key: ec.EllipticCurvePrivateKey, issuer: Any) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    authority, signer = issuer or (None, key)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
        )
    )
    if authority:
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    return builder.sign(signer, hashes.SHA256())


@dataclass
class TokenServer:
    """An authorization server. Its registry trusts `certificate`.

    lifetime: seconds that tokens are good for; it tells clients that they live for an hour.
    rights: actions that anybody gets; who logs in gets everything.
    asked: the query of each request, with `user`.
    """

    realm: str = ""
    certificate: Path = Path()
    lifetime: float = 600
    rights: tuple[str, ...] = ("pull",)
    refresh_token: str = "refresh-me"
    asked: list[dict[str, Any]] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    key: Any = None
    chain: str = ""

    @property
    def settings(self) -> list[str]:
        """For the registry."""
        return [
            f"auth: {{token: {{realm: '{self.realm}', service: test-registry, "
            f"issuer: test-issuer, rootcertbundle: {self.certificate}}}}}"
        ]

    def issue(self, scopes: list[str], *, everything: bool) -> str:
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            granted = [one for one in actions.split(",") if everything or one in self.rights]
            access.append({"type": kind, "name": name, "actions": granted})
        # The registry accepts tokens for a minute after they expired.
        expires = int(time.time() + self.lifetime) - 60
        claims = {"iss": "test-issuer", "aud": "test-registry", "sub": "", "access": access,
                  "exp": expires, "nbf": 0, "iat": 0, "jti": str(len(self.issued))}  # fmt: skip
        header = {"typ": "JWT", "alg": "ES256", "x5c": [self.chain]}
        text = f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        token = f"{text}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
        self.issued.append(token)
        return token


@contextmanager
def token_server(folder: Path) -> Iterator[TokenServer]:
    """An authorization server on a free port, over plain HTTP."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate("test-issuer", key, None)
    path = folder / "issuer.crt"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    chain = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    state = TokenServer(certificate=path, key=key, chain=chain)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            header = self.headers.get("Authorization", "")
            self._answer(query, _basic(USER, PASSWORD) == header, bool(header), query.get("scope"))

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            form = parse_qs(self.rfile.read(length).decode())
            right = form.get("refresh_token") == [state.refresh_token]
            self._answer(form, right, True, " ".join(form.get("scope", [])).split())

        def _answer(self, query: Any, right: bool, tried: bool, scopes: Any) -> None:
            state.asked.append(query | {"user": right})
            if tried and not right:
                self._send(401, {"errors": [{"code": "UNAUTHORIZED", "message": "no"}]})
                return
            token = state.issue(scopes or [], everything=right)
            self._send(200, {"token": token, "expires_in": 3600})

        def _send(self, status: int, document: Any) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.realm = f"http://127.0.0.1:{server.server_port}/token"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield state
        server.shutdown()


def auth_file(path: Path, registry: str, user: str = USER, password: str = PASSWORD) -> Path:
    """What `podman login` writes."""
    entry = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": {registry: entry}}))
    return path


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
