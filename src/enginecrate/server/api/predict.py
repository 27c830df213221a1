"""`POST /v1/predict`: images in, results out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from enginecrate.errors import PipelineError, QueueFull, RequestInvalid
from enginecrate.pipelines.base import Result, TensorsResult
from enginecrate.server.api.npz_answer import NPZ, encode_npz, wants_npz
from enginecrate.server.api.uploads import is_raw, read_payloads
from enginecrate.server.decoding.decoding import Decoding
from enginecrate.server.http.head import RequestHead
from enginecrate.server.http.messages import Request, Response, json_response, shown
from enginecrate.server.model.prediction import PredictionResult, Predictor
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.model.serving import EngineName, LoadedModel, Serving
from enginecrate.server.reload import LiveSettings
from enginecrate.server.scheduling.client import Client
from enginecrate.server.scheduling.outcome import outcome

__all__ = ["PredictRoutes"]


_MOST_AT_ONCE = 16
"""Images of one request that are under way for each engine."""

_RETRY_SECONDS = 0.05
"""Pause before a further image of a request that was begun asks for a place in the queue again."""


_COPIED_BYTES = 1024 * 1024
"""Photos up to this size are copied out of the connection's memory in the event loop."""


class _Timing(msgspec.Struct):
    """Milliseconds. Of several images, which run side by side, each step's longest."""

    decode: float
    queue: float
    compute: float
    postprocess: float
    total: float


class _PredictAnswer(msgspec.Struct):
    """The answer: one result for each image, in order."""

    model: str
    version: str
    request_id: str
    engine: EngineName
    results: Sequence[Result]
    timing_ms: _Timing


class PredictRoutes:
    """Handlers around one model."""

    def __init__(self, model: ServedModel, decoding: Decoding, live: LiveSettings) -> None:
        self._model = model
        self._decoding = decoding
        self._workers = decoding.workers
        self._live = live
        self._predictor = Predictor(decoding, model.statistics)

    async def predict(self, request: Request) -> Response:
        """Answer results in JSON, with `?annotate=1` a picture, or tensors as an `.npz` archive."""
        with self._model.using() as serving:
            return await self._predict(request, serving)

    def admit(self, head: RequestHead, client: Client) -> None:
        """Refuse a photo that would wait too long, before its body is read."""
        serving = self._model.serving
        if serving is not None:
            self._predictor.admit(serving, client)

    async def _predict(self, request: Request, serving: Serving) -> Response:
        loaded = serving.loaded
        wants_picture = _wants_picture(request)
        payloads = await self._payloads(request)
        if wants_picture and len(payloads) != 1:
            raise RequestInvalid(
                f"annotate=1 answers one picture, but {len(payloads)} images were sent; "
                "send one image"
            )
        as_npz = not wants_picture and wants_npz(request)
        if as_npz and len(payloads) != 1:
            raise RequestInvalid(
                f"Accept: {NPZ} answers the tensors of one image, but {len(payloads)} images were "
                "sent; send one image"
            )
        predicted = await self._all(request, serving, payloads)
        if wants_picture:
            return await self._picture(request, loaded, payloads[0], predicted[0])
        if as_npz:
            return await self._npz(request, predicted[0])
        return await self._answer(request, loaded, predicted)

    async def _payloads(self, request: Request) -> Sequence[bytes]:
        content_type = request.headers.get("content-type", "")
        most = self._live.settings.max_images
        if is_raw(content_type) and len(request.body) <= _COPIED_BYTES:
            return read_payloads(content_type, request.body, most)
        return await outcome(self._workers.submit(read_payloads, content_type, request.body, most))

    async def _all(
        self, request: Request, serving: Serving, payloads: Sequence[bytes]
    ) -> Sequence[PredictionResult]:
        """Predict every image; a few of one request are under way at once, and the others wait."""
        if len(payloads) == 1:
            return [await self._predict_one(request, serving, payloads[0])]
        loaded = serving.loaded
        batch = max(1, min(loaded.signature.max_batch, _MOST_AT_ONCE))
        room = asyncio.Semaphore(self._workers.threads + loaded.instances * batch)
        tasks = [
            asyncio.create_task(self._numbered(request, serving, payloads, position, room))
            for position in range(len(payloads))
        ]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _numbered(
        self,
        request: Request,
        serving: Serving,
        payloads: Sequence[bytes],
        position: int,
        room: asyncio.Semaphore,
    ) -> PredictionResult:
        async with room:
            try:
                return await self._patiently(request, serving, payloads[position], position > 0)
            except PipelineError as exc:
                exc.args = (f"image {position + 1} of {len(payloads)}: {exc}",)
                raise

    async def _patiently(
        self, request: Request, serving: Serving, payload: bytes, begun: bool
    ) -> PredictionResult:
        """Predict an image of several: a request that was begun is not refused halfway."""
        while True:
            try:
                return await self._predict_one(request, serving, payload, is_patient=begun)
            except QueueFull:
                if not begun:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)

    async def _predict_one(
        self, request: Request, serving: Serving, payload: bytes, *, is_patient: bool = False
    ) -> PredictionResult:
        prediction = self._predictor.start(
            serving, payload, request.client, request.lease, is_patient=is_patient
        )
        try:
            return await outcome(prediction.future)
        except asyncio.CancelledError:
            prediction.cancel()
            raise

    async def _picture(
        self, request: Request, loaded: LoadedModel, payload: bytes, predicted: PredictionResult
    ) -> Response:
        if isinstance(predicted.result, TensorsResult):
            raise RequestInvalid(
                "annotate=1 draws into a picture, but this app answers tensors; leave it out"
            )
        drawing = self._decoding.annotate(payload, predicted.result, loaded.limits, request.client)
        try:
            picture = await outcome(drawing.future)
        except asyncio.CancelledError:
            drawing.cancel()
            raise
        log = self._log_fields(request, [predicted])
        return Response(200, (("content-type", "image/png"),), (picture,), log)

    async def _npz(self, request: Request, predicted: PredictionResult) -> Response:
        body = await outcome(self._workers.submit_first(encode_npz, predicted.result))
        log = self._log_fields(request, [predicted])
        return Response(200, (("content-type", NPZ),), (body,), log)

    async def _answer(
        self, request: Request, loaded: LoadedModel, predicted: Sequence[PredictionResult]
    ) -> Response:
        answer = _PredictAnswer(
            model=self._model.name,
            version=self._model.version,
            request_id=request.request_id,
            engine=loaded.engine,
            results=[prediction.result for prediction in predicted],
            timing_ms=_timing(request, predicted),
        )
        log = self._log_fields(request, predicted)
        if isinstance(predicted[0].result, TensorsResult):  # may be large
            encoding = self._workers.submit_first(json_response, answer, log=log)
            return await outcome(encoding)
        return json_response(answer, log=log)

    def _log_fields(
        self, request: Request, predicted: Sequence[PredictionResult]
    ) -> dict[str, Any]:
        timing = _timing(request, predicted)
        self._model.statistics.answered(timing.total, timing.queue, timing.compute)
        return {
            "model": self._model.name,
            "version": self._model.version,
            "batch": max(each.execution.batch for each in predicted),
            "queue_us": round(timing.queue * 1e3),
            "compute_us": round(timing.compute * 1e3),
        }


def _wants_picture(request: Request) -> bool:
    value = request.query.get("annotate", "0")
    if value not in ("0", "1", "false", "true"):
        raise RequestInvalid(f"annotate must be 0 or 1, found {shown(value)}")
    return value in ("1", "true")


def _timing(request: Request, predicted: Sequence[PredictionResult]) -> _Timing:
    def longest(values: Iterable[int]) -> float:
        return round(max(values) / 1e6, 3)

    executions = [each.execution for each in predicted]
    return _Timing(
        decode=longest(each.decode_ns for each in predicted),
        queue=longest(run.queue_ns for run in executions),
        compute=longest(run.input_ns + run.compute_ns + run.output_ns for run in executions),
        postprocess=longest(each.finish_ns for each in predicted),
        total=round((time.perf_counter() - request.arrived) * 1e3, 3),
    )
