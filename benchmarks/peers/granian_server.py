"""Bare handlers on granian, which read the body and send it back: a ceiling, not a peer."""

import sys

from granian import Granian

JSON = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1,16],"data":'


def answer(body: bytes, head: str | None) -> tuple[bytes, list[tuple[str, str]]]:
    """The data of the request as the answer, found by its position instead of parsed."""
    if head is None:
        data = body[body.index(b'"data":') + 7 : body.rindex(b"}]")]
        body = JSON + data + b"}]}"
        return body, [("content-type", "application/json")]
    data = body[int(head) :]
    text = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1,3,224,224],'
    text += b'"parameters":{"binary_data_size":%d}}]}' % len(data)
    return text + data, [("inference-header-content-length", str(len(text)))]


async def asgi(scope, receive, send) -> None:
    """The ASGI handler."""
    if scope["type"] != "http":
        return
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    body, fields = b"".join(parts), []
    if scope["method"] == "POST":
        found = dict(scope["headers"]).get(b"inference-header-content-length")
        body, fields = answer(body, found.decode() if found else None)
    fields.append(("content-length", str(len(body))))
    headers = [(name.encode(), value.encode()) for name, value in fields]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def rsgi(scope, protocol) -> None:
    """The handler of granian's own interface."""
    body, fields = await protocol(), []
    if scope.method == "POST":
        body, fields = answer(body, scope.headers.get("inference-header-content-length"))
    protocol.response_bytes(200, fields, body)


if __name__ == "__main__":
    Granian(
        f"granian_server:{sys.argv[2]}", port=int(sys.argv[1]), interface=sys.argv[2], workers=1,
        runtime_threads=1, log_enabled=False, loop="uvloop",
    ).serve()  # fmt: skip
