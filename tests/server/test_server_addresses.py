"""Which addresses a server opens, and that the health check reaches them: IPv4, IPv6, both, one."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tiny_projects import scale_model, write_project

from enginecrate.server.healthcheck import check_health

V4, V6 = "127.0.0.1", "[::1]"

BOTH = "127.0.0.1 localhost\n::1 localhost\n"

_SCRIPT = """
import fcntl, os, socket, struct, subprocess, sys, threading
host, port, ipv6, hosts = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "ipv6", sys.argv[4]
subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
with socket.socket() as one:
    fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
if not ipv6:
    with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as file:
        file.write("1")
from enginecrate.server.healthcheck import check_health
from enginecrate.server.http.listener import listen, url_of
listeners = listen(host, port)
def answer(listener):
    listener.setblocking(True)
    while True:
        taken = listener.accept()[0]
        taken.recv(1000)
        taken.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
        taken.close()
for listener in listeners:
    threading.Thread(target=answer, args=(listener,), daemon=True).start()
port = listeners[0].getsockname()[1]
def reached(address):
    try:
        socket.create_connection((address, port), 3).close()
    except OSError:
        return "-"
    return "+"
environment = {"ENGINECRATE_HOST": host, "ENGINECRATE_HTTP_PORT": str(port)}
print(reached("127.0.0.1") + reached("::1"), check_health(environment))
"""


@pytest.mark.parametrize(
    ("host", "ipv6", "names", "reached"),
    [
        ("::", True, BOTH, "++"),
        ("::", False, BOTH, "+-"),
        ("0.0.0.0", True, BOTH, "+-"),
        ("127.0.0.1", True, BOTH, "+-"),
        ("::1", True, BOTH, "-+"),
        ("localhost", True, BOTH, "++"),
        ("localhost", False, BOTH, "+-"),
        ("localhost", True, "::1 localhost\n", "-+"),
        ("localhost", True, "127.0.0.1 localhost\n" * 2, "+-"),
    ],
)
@pytest.mark.parametrize("port", [0, 8123])
def test_a_host_is_reached_where_it_should_be(
    tmp_path: Path, host: str, port: int, ipv6: bool, names: str, reached: str
):
    """In a network of its own, with the names of its own."""
    (tmp_path / "hosts").write_text(names)
    words = [host, str(port), "ipv6" if ipv6 else "ipv4", str(tmp_path / "hosts")]
    command = ["unshare", "--net", "--mount", sys.executable, "-c", _SCRIPT, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [reached, "0"], done.stderr


def test_without_ipv6_an_address_of_it_is_named(tmp_path: Path):
    (tmp_path / "hosts").write_text(BOTH)
    words = ["::1", "0", "ipv4", str(tmp_path / "hosts")]
    command = ["unshare", "--net", "--mount", sys.executable, "-c", _SCRIPT, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "cannot listen on ::1 port 0: Cannot assign requested address" in done.stderr


def test_a_server_on_every_interface_answers_by_both_families(launch, tmp_path: Path):
    server = launch(write_project(tmp_path / "project", scale_model()), host="::")
    assert server.url.startswith("http://127.0.0.1:")
    for address in (V4, V6):
        url = f"http://{address}:{server.port}/v2/health/ready"
        assert httpx.get(url, trust_env=False).status_code == 200
    assert check_health({"ENGINECRATE_HOST": "::", "ENGINECRATE_HTTP_PORT": str(server.port)}) == 0
