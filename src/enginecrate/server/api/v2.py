"""The Open Inference Protocol v2 over HTTP: health, metadata, configuration, statistics, infer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from enginecrate.errors import ModelUnknown, RequestInvalid, RequestTimeout
from enginecrate.server.api.v2_metadata import (
    engine_parameters,
    model_config,
    model_metadata,
    model_statistics,
)
from enginecrate.server.http.compression import compressed, compressed_here
from enginecrate.server.http.head import RequestHead
from enginecrate.server.http.messages import (
    Buffer,
    Headers,
    Request,
    Response,
    json_response,
    shown,
)
from enginecrate.server.http.workers import Workers
from enginecrate.server.inference_protocol.answer import encode_infer
from enginecrate.server.inference_protocol.request import InferRequest, parse_infer
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.model.serving import LoadedModel, Serving
from enginecrate.server.scheduling.batch import Execution
from enginecrate.server.scheduling.client import Client
from enginecrate.server.scheduling.outcome import outcome
from enginecrate.values import Tensors
from enginecrate.version import __version__

__all__ = ["V2Routes"]

_EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "statistics")
"""Only what works."""

_SMALL_BYTES = 32 * 1024
"""JSON up to this size is parsed and written in the event loop: a thread would cost more."""

_BYTES_PER_NUMBER = 12


class V2Routes:
    """Handlers around one model."""

    def __init__(self, model: ServedModel, workers: Workers) -> None:
        self._model = model
        self._workers = workers
        self._answers_here = True

    async def server_metadata(self, request: Request) -> Response:
        """Name, version and extensions of the server."""
        return json_response(
            {"name": "enginecrate", "version": __version__, "extensions": _EXTENSIONS}
        )

    async def live(self, request: Request) -> Response:
        """The process runs."""
        return json_response({"live": True})

    async def ready(self, request: Request) -> Response:
        """200 once the golden samples have passed; else 503 with the reason."""
        return self._readiness()

    async def models(self, request: Request) -> Response:
        """The names of the models."""
        return json_response({"models": [self._model.name]})

    async def model_metadata(self, request: Request) -> Response:
        """Tensors of a model."""
        model, loaded = self._loaded(request)
        return json_response(model_metadata(model, loaded))

    async def model_ready(self, request: Request) -> Response:
        """As `ready`, for one model."""
        return self._readiness(self._named(request))

    async def model_config(self, request: Request) -> Response:
        """Batching and instances of a model."""
        model, loaded = self._loaded(request)
        return json_response(model_config(model, loaded))

    async def statistics(self, request: Request) -> Response:
        """Counts and durations of one model, or of all."""
        model = self._named(request) if "model" in request.params else self._model
        return json_response({"model_stats": [model_statistics(model)]})

    def admit(self, head: RequestHead, client: Client) -> None:
        """Refuse a request that would wait too long, before its body is read."""
        serving = self._model.serving
        if serving is not None and serving.scheduler.estimated_wait_seconds:
            serving.scheduler.admit(1, client)

    def infer_here(self, request: Request) -> Response | None:
        """As `infer`, in this thread, where the engine is cheaper than a change of threads."""
        model = self._named(request)
        with model.using() as serving:
            if not serving.scheduler.runs_here or self._json_size(request) > _SMALL_BYTES:
                return None
            parsed = self._parse_here(request, serving.loaded)
            if not self._answers_here or parsed.timeout_us:
                return None
            execution = serving.scheduler.run_here(parsed.tensors)
            if execution is None:
                return None
            if _json_bytes(parsed, execution) > _SMALL_BYTES:  # the next ones in a thread
                self._answers_here = False
            encoded = encode_infer(
                *self._answer_arguments(model, serving.loaded, parsed, execution)
            )
            response = self._response(request, model, execution, *encoded)
            return compressed_here(request, response, binary=encoded[0] is not None)

    async def infer(self, request: Request) -> Response:
        """Run tensors through the engine."""
        model = self._named(request)
        with model.using() as serving:
            return await self._infer(request, model, serving)

    async def _infer(self, request: Request, model: ServedModel, serving: Serving) -> Response:
        loaded, scheduler = serving.loaded, serving.scheduler
        if self._json_size(request) <= _SMALL_BYTES:
            parsed = self._parse_here(request, loaded)
        else:
            parsed = await outcome(self._workers.submit(self._parse_here, request, loaded))
        seconds = parsed.timeout_us / 1e6
        deadline = time.monotonic() + seconds if seconds else None
        computing = scheduler.submit(
            parsed.tensors, deadline, client=request.client, lease=request.lease
        )
        if not seconds:
            execution = await outcome(computing)
            return await self._answer(request, model, loaded, parsed, execution)
        try:
            async with asyncio.timeout(seconds):
                execution = await outcome(computing)
        except TimeoutError:
            raise RequestTimeout(
                f"the request was not done within its own timeout of {parsed.timeout_us} us; "
                "give it more time, or try again when the server is less busy"
            ) from None
        return await self._answer(request, model, loaded, parsed, execution)

    def _parse_here(self, request: Request, loaded: LoadedModel) -> InferRequest:
        length = request.headers.get("inference-header-content-length")
        try:
            return parse_infer(request.body, length, loaded.signature)
        except RequestInvalid:
            self._model.statistics.failed("OTHER")
            raise

    def _json_size(self, request: Request) -> int:
        """Bytes of JSON in a body, roughly."""
        size = len(request.body)
        length = request.headers.get("inference-header-content-length")
        if length is not None and length.isascii() and length.isdigit():
            return min(size, int(length[:18]))
        return size

    async def _answer(
        self,
        request: Request,
        model: ServedModel,
        loaded: LoadedModel,
        parsed: InferRequest,
        execution: Execution,
    ) -> Response:
        arguments = self._answer_arguments(model, loaded, parsed, execution)
        if _json_bytes(parsed, execution) <= _SMALL_BYTES:
            length, parts = encode_infer(*arguments)
        else:
            length, parts = await outcome(self._workers.submit(encode_infer, *arguments))
        response = self._response(request, model, execution, length, parts)
        return await compressed(request, response, self._workers, binary=length is not None)

    def _answer_arguments(
        self, model: ServedModel, loaded: LoadedModel, parsed: InferRequest, execution: Execution
    ) -> tuple[InferRequest, Tensors, str, str, Sequence[str], dict[str, str]]:
        return (
            parsed, execution.outputs, model.name, model.version, loaded.labels,
            engine_parameters(loaded),
        )  # fmt: skip

    def _response(
        self,
        request: Request,
        model: ServedModel,
        execution: Execution,
        length: int | None,
        parts: Sequence[Buffer],
    ) -> Response:
        compute_ns = execution.input_ns + execution.compute_ns + execution.output_ns
        log = {
            "model": model.name,
            "version": model.version,
            "batch": execution.batch,
            "queue_us": execution.queue_ns // 1000,
            "compute_us": compute_ns // 1000,
        }
        total = (time.perf_counter() - request.arrived) * 1e3
        model.statistics.answered(total, execution.queue_ns / 1e6, compute_ns / 1e6)
        headers: Headers = (("content-type", "application/json"),)
        if length is not None:
            headers = (
                ("content-type", "application/octet-stream"),
                ("inference-header-content-length", str(length)),
            )
        return Response(200, headers, parts, log, execution.lease)

    def _named(self, request: Request) -> ServedModel:
        name, version = request.params["model"], request.params.get("version")
        model = self._model
        if name != model.name:
            raise ModelUnknown(f"there is no model {shown(name)}; this server has {model.name!r}")
        if version is not None and version != model.version:
            raise ModelUnknown(
                f"model {model.name!r} has no version {shown(version)}; it has {model.version!r}"
            )
        return model

    def _loaded(self, request: Request) -> tuple[ServedModel, LoadedModel]:
        model = self._named(request)
        return model, model.require()

    def _readiness(self, model: ServedModel | None = None) -> Response:
        shown_model = model or self._model
        ready = shown_model.is_ready
        answer: dict[str, Any] = {"ready": ready, "state": shown_model.state}
        answer["golden"] = shown_model.golden_state
        if model is not None:
            answer["name"] = model.name
        if shown_model.is_serving and shown_model.loaded is not None:
            answer["engine"] = shown_model.loaded.engine
        answer["ladder"] = shown_model.ladder.summary()
        if shown_model.front_ends is not None:
            count, wanted = shown_model.front_ends
            answer["front_ends"] = {"open": count, "wanted": wanted}
        if not ready:
            answer["reason"] = shown_model.reason
        headers: Headers = () if ready else (("retry-after", "1"),)
        return json_response(answer, 200 if ready else 503, headers)


def _json_bytes(parsed: InferRequest, execution: Execution) -> int:
    """Roughly how much JSON an answer will hold."""
    names = [output.name for output in parsed.outputs if not output.binary]
    return sum(int(execution.outputs[name].size) for name in names) * _BYTES_PER_NUMBER
