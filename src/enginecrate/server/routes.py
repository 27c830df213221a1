"""Every route of the server, in one table: method, path, handler.

A new route is a handler in `api/`, a row here, and a description in `openapi.json`;
`tests/web/test_web_openapi.py` compares this table with that document.
"""

from __future__ import annotations

from enginecrate.server.api.metrics import MetricsRoute
from enginecrate.server.api.pages import OpenApiRoute, StaticRoutes
from enginecrate.server.api.predict import PredictRoutes
from enginecrate.server.api.status import StatusRoute
from enginecrate.server.api.v2 import V2Routes
from enginecrate.server.decoding.decoding import Decoding
from enginecrate.server.http.router import Route, RouteTable
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.reload import LiveSettings

__all__ = ["make_routes"]


def make_routes(model: ServedModel, decoding: Decoding, live: LiveSettings) -> RouteTable:
    """The route table. The model need not be loaded yet; `GET` rows answer `HEAD`, too."""
    workers = decoding.workers
    predict = PredictRoutes(model, decoding, live)
    status = StatusRoute(model, live)
    metrics = MetricsRoute(model)
    v2 = V2Routes(model, workers)
    openapi = OpenApiRoute(model.manifest)
    pages = StaticRoutes(workers)
    rows = (
        ("POST", "/v1/predict", predict.predict, predict.admit),
        ("GET", "/v1/status", status.status),
        ("GET", "/metrics", metrics.metrics),
        # The Open Inference Protocol
        ("GET", "/v2", v2.server_metadata),
        ("GET", "/v2/health/live", v2.live),
        ("GET", "/v2/health/ready", v2.ready),
        ("GET", "/v2/models", v2.models),
        ("GET", "/v2/models/stats", v2.statistics),
        ("GET", "/v2/models/{model}", v2.model_metadata),
        ("GET", "/v2/models/{model}/ready", v2.model_ready),
        ("GET", "/v2/models/{model}/config", v2.model_config),
        ("GET", "/v2/models/{model}/stats", v2.statistics),
        ("POST", "/v2/models/{model}/infer", v2.infer, v2.admit, v2.infer_here),
        ("GET", "/v2/models/{model}/versions/{version}", v2.model_metadata),
        ("GET", "/v2/models/{model}/versions/{version}/ready", v2.model_ready),
        ("GET", "/v2/models/{model}/versions/{version}/config", v2.model_config),
        ("GET", "/v2/models/{model}/versions/{version}/stats", v2.statistics),
        ("POST", "/v2/models/{model}/versions/{version}/infer", v2.infer, v2.admit, v2.infer_here),
        # Pages, and what they load
        ("GET", "/", pages.dashboard),
        ("GET", "/docs", pages.docs),
        ("GET", "/openapi.json", openapi.document),
        ("GET", "/assets/{path*}", pages.asset),
        ("GET", "/favicon.ico", pages.favicon),
    )
    return RouteTable(Route(*row) for row in rows)
