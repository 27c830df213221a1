"""FastAPI on uvicorn: one worker, uvloop, httptools, no access log, no validation.

The model runs in the handler: with one core a thread would only add switches.
"""

import sys

import uvicorn
import v2
from fastapi import FastAPI, Request, Response

app = FastAPI()
run = v2.load_model()


@app.get("/ready")
async def ready() -> Response:
    """It can answer."""
    return Response()


@app.post("/v2/models/m/infer")
async def infer(request: Request) -> Response:
    """Answer a request."""
    head = request.headers.get(v2.HEAD)
    y = run(v2.parse(await request.body(), head))
    body, size = v2.answer(y, binary=head is not None)
    if size is None:
        return Response(body, media_type="application/json")
    return Response(body, headers={v2.HEAD: size}, media_type="application/octet-stream")


uvicorn.run(
    app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False,
    log_level="warning",
)  # fmt: skip
