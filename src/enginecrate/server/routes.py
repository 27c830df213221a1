"""Every path of the server, as data."""

from __future__ import annotations

from enginecrate.server.api.metrics import CONTENT_TYPE, Metrics
from enginecrate.server.api.pages import StaticRoutes, openapi_document
from enginecrate.server.api.predict import PredictRoutes
from enginecrate.server.api.status import StatusRoute
from enginecrate.server.api.v2 import V2Routes
from enginecrate.server.http.messages import Request, Response
from enginecrate.server.http.router import Route, RouteTable
from enginecrate.server.http.workers import Workers
from enginecrate.server.model.served_model import ServedModel
from enginecrate.settings import Settings

__all__ = ["make_routes"]

_MODEL = "/v2/models/{model}"


def make_routes(model: ServedModel, workers: Workers, settings: Settings) -> RouteTable:
    """The route table. The model need not be loaded yet."""
    v2 = V2Routes(model, workers)
    predict = PredictRoutes(model, workers, max_images=settings.max_images)
    static = StaticRoutes(workers)
    documents = _Documents(model)
    routes = [
        Route("POST", "/v1/predict", predict.predict),
        Route("GET", "/v1/status", StatusRoute(model, workers, settings).status),
        Route("GET", "/v2", v2.server_metadata),
        Route("GET", "/v2/health/live", v2.live),
        Route("GET", "/v2/health/ready", v2.ready),
        Route("GET", "/v2/models", v2.models),
        Route("GET", "/v2/models/stats", v2.statistics),
        Route("GET", "/metrics", documents.metrics),
        Route("GET", "/openapi.json", documents.openapi),
        Route("GET", "/", static.dashboard),
        Route("GET", "/docs", static.docs),
        Route("GET", "/assets/{path*}", static.asset),
        Route("GET", "/favicon.ico", static.favicon),
    ]
    for prefix in (_MODEL, f"{_MODEL}/versions/{{version}}"):
        routes += [
            Route("POST", f"{prefix}/infer", v2.infer),
            Route("GET", prefix, v2.model_metadata),
            Route("GET", f"{prefix}/ready", v2.model_ready),
            Route("GET", f"{prefix}/config", v2.model_config),
            Route("GET", f"{prefix}/stats", v2.statistics),
        ]
    return RouteTable(routes)


class _Documents:
    """Handlers for what is made from the model on demand."""

    def __init__(self, model: ServedModel) -> None:
        app = model.manifest.app
        task = model.manifest.pipeline.task
        self._metrics = Metrics(lambda: [model])
        self._openapi = openapi_document(app.name, app.version, app.summary, task)

    async def metrics(self, request: Request) -> Response:
        """`/metrics`."""
        return Response(200, (("content-type", CONTENT_TYPE),), (self._metrics.render(),))

    async def openapi(self, request: Request) -> Response:
        """`/openapi.json`."""
        return Response(200, (("content-type", "application/json"),), (self._openapi,))
