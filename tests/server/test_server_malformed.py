"""Malformed requests of many kinds: each gets a 4xx with a sentence, and leaves nothing behind."""

import base64
import gzip
import io
import json
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from pictures import png, png_chunk

MIB = 1024 * 1024
MAX_BODY = 8 * MIB
PREDICT = "/v1/predict"
INFER = "/v2/models/photo-detector/infer"
SHAPE = [1, 3, 416, 416]
NUMBERS = 3 * 416 * 416


def zip_bomb() -> bytes:
    """A sound PNG of 30000 x 30000 pixels: 2.7 GB when decoded, 2.6 MB as it is sent.

    Zeros are compressed once, and repeated: a full flush ends at a byte and refers to nothing
    before it. The checksum of n zeros is known: 1 and n (RFC 1950, section 8.2).
    """
    rows = 100
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes((1 + 3 * 30000) * rows)) + packer.flush(zlib.Z_FULL_FLUSH)
    total = (1 + 3 * 30000) * 30000
    checksum = struct.pack(">I", (total % 65521) << 16 | 1)
    data = b"\x78\xda" + block * (30000 // rows) + b"\x03\x00" + checksum
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", data)
        + png_chunk(b"IEND", b"")
    )


@dataclass
class Malformed:
    """A request, the status that it must get, and words that must be in the sentence."""

    name: str
    path: str
    body: bytes
    words: str
    status: int = 400
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"


def tensor(**changes) -> dict:
    made = {
        "name": "input", "shape": SHAPE, "datatype": "FP32",
        "parameters": {"binary_data_size": NUMBERS * 4},
    }  # fmt: skip
    made.update(changes)
    return {key: value for key, value in made.items() if value is not None}


def infer(
    name: str, words: str, *inputs: dict, binary: bytes = b"", length=None, **rest
) -> Malformed:
    header = json.dumps({"inputs": list(inputs), **rest}).encode()
    announced = str(len(header) if length is None else length)
    return Malformed(
        name, INFER, header + binary, words, headers={"Inference-Header-Content-Length": announced}
    )


def form(
    name: str, words: str, body: bytes, *, boundary: str = "; boundary=b", status=400
) -> Malformed:
    headers = {"content-type": "multipart/form-data" + boundary}
    return Malformed(name, PREDICT, body, words, status, headers)


def as_json(name: str, words: str, body: object, status: int = 400) -> Malformed:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Malformed(name, PREDICT, data, words, status, {"content-type": "application/json"})


def coded(name: str, words: str, coding: str, body: bytes, status: int = 400) -> Malformed:
    return Malformed(name, PREDICT, body, words, status, {"content-encoding": coding})


def requests(photo: Callable[[str], bytes]) -> list[Malformed]:
    astronaut = photo("astronaut.png")
    zeros = bytes(NUMBERS * 4)
    text = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
    part = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n\r\n'
    return [
        # images
        Malformed("empty body", PREDICT, b"", "body is empty"),
        Malformed("no image at all", PREDICT, b"hello, world", "JPEG", 415),
        Malformed("truncated PNG", PREDICT, astronaut[:5000], "damaged"),
        Malformed("truncated PNG header", PREDICT, astronaut[:20], ""),
        Malformed("truncated JPEG", PREDICT, JPEG[: len(JPEG) // 2], ""),
        Malformed("only the start of a JPEG", PREDICT, b"\xff\xd8\xff\xe0", ""),
        Malformed("noise after a JPEG signature", PREDICT, b"\xff\xd8\xff" + bytes(range(256)), ""),
        Malformed("PNG bomb of 30000x30000", PREDICT, zip_bomb(), "30000", 413),
        Malformed("PNG of 2^31-1 pixels squared", PREDICT, png(2**31 - 1, 2**31 - 1, b""), "", 413),
        Malformed("PNG without pixels", PREDICT, png(0, 0, b""), ""),
        Malformed("PNG with a hole", PREDICT, astronaut[:6000] + bytes(4) + astronaut[6004:],
                  "its IDAT chunk"),
        Malformed("GIF", PREDICT, b"GIF89a" + bytes(64), "JPEG", 415),
        Malformed("SVG", PREDICT, b"<svg xmlns='http://www.w3.org/2000/svg'/>", "JPEG", 415),
        Malformed("PDF", PREDICT, b"%PDF-1.7 ...", "JPEG", 415),
        Malformed("truncated WebP", PREDICT, b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0", ""),
        Malformed("BMP with a lying size", PREDICT, b"BM" + b"\xff" * 60, "", 415),
        Malformed("wrong content type", PREDICT, astronaut, "text/html", 415,
                  {"content-type": "text/html"}),
        Malformed("odd annotate", PREDICT + "?annotate=maybe", astronaut, "must be 0 or 1"),
        # data URLs
        as_json("bad JSON", "not JSON", b"{"),
        as_json("JSON of another kind", "image_url", [1, 2]),
        as_json("JSON without image_url", "image_url", {}),
        as_json("JSON that is not UTF-8", "not JSON", b'{"image_url": "\xff"}'),
        as_json("JSON in UTF-16", "byte order mark, ff fe", '{"image_url": ""}'.encode("utf-16")),
        as_json("a web address", "fetches nothing", {"image_url": "http://169.254.169.254/latest"}),
        as_json("a file address", "only data: URLs", {"image_url": "file:///etc/passwd"}),
        as_json("data URL without base64", "base64", {"image_url": "data:image/png,abc"}),
        as_json("data URL with broken base64", "base64", {"image_url": "data:;base64,a$$b"}),
        as_json("data URL of nothing", "is empty", {"image_url": "data:image/png;base64,"}, 415),
        # multipart
        form("no boundary", "names no boundary", b"--b--", boundary=""),
        form("wrong boundary", "malformed", b"--c\r\n\r\n--c--\r\n"),
        form("no file", "no file", text + b"--b--\r\n"),
        form("cut off", "ends too early", part + astronaut[:1000]),
        form("an empty file", "is empty", part + b"\r\n--b--\r\n", status=415),
        form("too many files", "more than 64 images", (part + b"x\r\n") * 65 + b"--b--\r\n"),
        form("too many parts", "parts", text * 200),
        form("endless part header", "malformed", b"--b\r\nX-A: " + b"a" * 100_000),
        # content codings
        coded("gzip that is none", "its bytes are not", "gzip", b"not gzip"),
        coded("truncated gzip", "ends too early", "gzip", gzip.compress(astronaut)[:1000]),
        coded("gzip bomb", "after decompression", "gzip", gzip.compress(bytes(64 * MIB)), 413),
        coded("deflate bomb", "after decompression", "deflate", zlib.compress(bytes(9 * MIB)), 413),
        coded("bytes after deflate", "follow the end", "deflate", zlib.compress(b"x") + b"more"),
        coded("unknown coding", "use gzip or deflate", "br", b"x", 415),
        # sizes
        Malformed("a body over the limit", PREDICT, bytes(MAX_BODY + 1), "at most 8388608", 413),
        # paths and methods
        Malformed("unknown path", "/v1/predicts", b"", "did you mean '/v1/predict'", 404),
        Malformed("path with dots", "/assets/%2e%2e/%2e%2e/app.py", b"", "no file", 404,
                  method="GET"),
        Malformed("path with a NUL", "/assets/a%00b", b"", "no file", 404, method="GET"),
        Malformed("very long path", "/" + "a" * 5000, b"", "(5001 characters)", 404),
        Malformed("wrong method", PREDICT, b"", "use POST", 405, method="DELETE"),
        Malformed("unknown model", "/v2/models/nobody/infer", b"{}", "no model 'nobody'", 404),
        Malformed("unknown version", "/v2/models/photo-detector/versions/2/infer", b"{}",
                  "no version '2'", 404),
        # v2 bodies
        Malformed("empty inference", INFER, b"", "body is empty"),
        Malformed("inference that is not JSON", INFER, b"{inputs}", "not valid JSON"),
        Malformed("inference nested deeply", INFER, b'{"z":' + b"[" * 50_000, "nested too deeply"),
        Malformed("header length is a word", INFER, b"{}", "not a number",
                  headers={"Inference-Header-Content-Length": "ten"}),
        Malformed("header length beyond the body", INFER, b"{}", "whole body has 2",
                  headers={"Inference-Header-Content-Length": "1000"}),
        Malformed("raw body of the wrong size", INFER, b"x" * 100, "takes 2076672 bytes, but 100",
                  headers={"Inference-Header-Content-Length": "0"}),
        infer("no inputs", "input 'input' is missing"),
        infer("unknown input", "no input 'images'", tensor(name="images"), binary=zeros),
        infer("input sent twice", "sent twice", tensor(), tensor(), binary=zeros * 2),
        infer("wrong datatype", "takes datatype FP32", tensor(datatype="INT8"), binary=zeros),
        infer("wrong rank", "takes shape", tensor(shape=[3, 416, 416]), binary=zeros),
        infer("wrong size", "takes shape", tensor(shape=[1, 3, 400, 400]), binary=zeros),
        infer("negative size", "takes shape", tensor(shape=[-1, 3, 416, 416]), binary=zeros),
        infer("a batch of nothing", "takes shape", tensor(shape=[0, 3, 416, 416])),
        infer("a batch of 2^62", "too large", tensor(shape=[2**62, 3, 416, 416]), binary=zeros),
        infer("a product that overflows", "too large", tensor(shape=[2**63 - 1, *SHAPE[1:]])),
        infer("size lies: too small", "binary_data_size",
              tensor(parameters={"binary_data_size": 100}), binary=zeros),
        infer("size lies: too large", "only 2076672 bytes",
              tensor(parameters={"binary_data_size": 2**40}), binary=zeros),
        infer("size is negative", "whole number", tensor(parameters={"binary_data_size": -1})),
        infer("size is text", "whole number", tensor(parameters={"binary_data_size": "all"})),
        infer("binary data is cut", "only 1000 bytes", tensor(), binary=zeros[:1000]),
        infer("bytes are left over", "5 bytes follow", tensor(), binary=zeros + b"extra"),
        infer("no data", "has no data", tensor(parameters=None)),
        infer("data twice", "both data", tensor(data=[1])),
        infer("too few numbers", "its data has 3", tensor(parameters=None, data=[1, 2, 3])),
        infer("too many numbers", "its data has 600000",
              tensor(parameters=None, data=[0] * 600_000)),
        infer("text for numbers", "Expected float", tensor(parameters=None, data=["a"] * NUMBERS)),
        infer("ragged lists", "", tensor(parameters=None, data=[[[[1], [2, 3]]]])),
        infer("shared memory", "shared memory",
              tensor(parameters={"shared_memory_region": "r", "shared_memory_byte_size": 1})),
        infer("unknown output", "no output 'boxes'", tensor(), binary=zeros,
              outputs=[{"name": "boxes"}]),
        infer("output twice", "asked for twice", tensor(), binary=zeros,
              outputs=[{"name": "cls_8"}] * 2),
        infer("odd parameter", "true or false", tensor(), binary=zeros,
              parameters={"binary_data_output": "yes"}),
        infer("batch too large", "up to 32", tensor(shape=[33, 3, 416, 416])),
        Malformed("NaN in JSON", INFER, b'{"inputs":[{"name":"input","shape":[1,3,416,416],'
                  b'"datatype":"FP32","data":[NaN]}]}', "no NaN"),
        Malformed("Infinity in JSON", INFER, b'{"inputs":[{"name":"input","shape":[1,3,416,416],'
                  b'"datatype":"FP32","data":[1,-Infinity]}]}', "no NaN and no Infinity"),
    ]  # fmt: skip


def jpeg() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


JPEG = jpeg()


def sentence_of(answer: httpx.Response, path: str) -> str:
    body = answer.json()
    if path.startswith("/v2"):
        assert list(body) == ["error"]
        return str(body["error"])
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "request_id"} == set(body)
    assert body["status"] == answer.status_code
    return str(body["detail"])


def send_all(client: httpx.Client, wanted: list[Malformed]) -> list[str]:
    """Send every request; the complaints about the answers."""
    complaints = []
    for one in wanted:
        answer = client.request(one.method, one.path, content=one.body, headers=one.headers)
        sentence = sentence_of(answer, one.path)
        if answer.status_code != one.status:
            complaints.append(f"{one.name}: {answer.status_code}, wanted {one.status}: {sentence}")
        if one.words not in sentence:
            complaints.append(f"{one.name}: no {one.words!r} in: {sentence}")
        if not 15 <= len(sentence) <= 600 or "Traceback" in answer.text or "/work" in answer.text:
            complaints.append(f"{one.name}: not a helpful sentence: {sentence}")
    return complaints


def test_malformed_requests_are_refused_with_a_sentence(sample_server, photo):
    wanted = requests(photo)
    assert len({one.name for one in wanted}) == len(wanted) >= 50
    process = psutil.Process(sample_server.process.pid)
    with sample_server.client() as client:
        good = client.post(PREDICT, content=photo("astronaut.png")).json()["results"]
        send_all(client, wanted)  # the first time, memory pools grow to the size of the work
        before = process.memory_info().rss
        complaints = send_all(client, wanted)
        again = client.post(PREDICT, content=photo("astronaut.png"))
        grown = process.memory_info().rss - before
    assert not complaints, "\n".join(complaints)
    assert again.json()["results"] == good
    assert grown < 48 * MIB, f"{grown / MIB:.0f} MiB more than before"
    levels = {record["level"] for record in sample_server.records()}
    assert "error" not in levels
    assert not any("exception" in record for record in sample_server.records())


def raw_exchange(port: int, data: bytes) -> bytes:
    """Send bytes as they are; the whole first answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = connection.recv(65536)
            assert part, f"closed after {answer!r}"
            answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
POST = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, b"not valid HTTP"),
        (b"HELLO\r\n\r\n", 400, b"not valid HTTP"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, b"not valid HTTP"),
        (b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, b"not valid HTTP"),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, b"not valid HTTP"),
        (b"GET /v2 HTTP/1.1\r\nHost : x\r\n\r\n", 400, b"not valid HTTP"),
        (POST + b"Content-Length: many\r\n\r\n", 400, b"not valid HTTP"),
        (POST + b"Content-Length: -5\r\n\r\n", 400, b"not valid HTTP"),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400, b"not valid HTTP"),
        (POST + b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n", 400, b"not valid HTTP"),
        (POST + CHUNKED + b"zz\r\n", 400, b"not valid HTTP"),
        (POST + b"Content-Length: 1000000000\r\n\r\nx", 413, b"has 1000000000 bytes; at most"),
        (POST + b"Content-Length: 99999999999999999999999\r\n\r\nx", 400, b"not valid HTTP"),
        (b"GET /v2 HTTP/1.1\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n", 431, b"head or trailer"),
        (b"GET /" + b"a" * 300_000, 431, b"head or trailer"),
        (
            POST + CHUNKED + b"1\r\nx\r\n0\r\nX-Trailer: " + b"a" * 300_000,
            431,
            b"trailer",
        ),
        # One byte more than was announced: the announced body is answered, the rest is not HTTP.
        (POST + b"Content-Length: 4\r\n\r\nxxxx\0\0\0", 415, b"JPEG"),
    ],
)  # fmt: skip
def test_malformed_http(sample_server, data, status, words):
    answer = raw_exchange(sample_server.port, data)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:300]
    assert words in answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["status"] == status


def test_base64_of_everything_is_bounded_by_the_body(sample_server):
    """A data URL holds three quarters of its text: no way around the limit of the body."""
    url = "data:image/png;base64," + base64.b64encode(bytes(MAX_BODY)).decode()
    with sample_server.client() as client:
        assert client.post(PREDICT, json={"image_url": url}).status_code == 413
