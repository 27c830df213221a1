"""The server's small parts, one by one: bodies, routes, compression, workers, state, statistics."""

import asyncio
import gzip
import io
import json
import logging
import re
import threading
import zlib
from concurrent.futures import CancelledError

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from enginecrate import errors
from enginecrate.builder.golden.samples import GoldenOutcome, GoldenReport
from enginecrate.engines.fake import FakeEngine
from enginecrate.errors import DeviceLost, ModelNotReady, QueueFull, error_classes
from enginecrate.manifest import App, Manifest, Model
from enginecrate.pipelines.base import Limits
from enginecrate.server.api.metrics import CpuMeter, Metrics, memory_bytes
from enginecrate.server.api.pages import StaticRoutes
from enginecrate.server.http.body import decompress
from enginecrate.server.http.compression import choose_coding, compress
from enginecrate.server.http.error_answers import HTTP_STATUS, api_of, error_response, http_status
from enginecrate.server.http.messages import Request, json_response, shown
from enginecrate.server.http.router import Route, RouteTable
from enginecrate.server.http.workers import Workers
from enginecrate.server.inference_protocol.request import Signature
from enginecrate.server.logs.configuration import configure_logs
from enginecrate.server.logs.formatters import JsonFormatter, TextFormatter
from enginecrate.server.logs.request_log import log_request
from enginecrate.server.model.served_model import GoldenState, ServedModel, State
from enginecrate.server.model.serving import LoadedModel, Serving, engine_name
from enginecrate.server.scheduling.batch import Execution
from enginecrate.server.scheduling.counters import CountedEngine
from enginecrate.server.scheduling.scheduler import BatchScheduler
from enginecrate.server.statistics.model_statistics import ModelStatistics
from enginecrate.settings import load_settings
from enginecrate.values import DataType, PipelineSpec, PlanInfo, Precision, TensorSpec

X = TensorSpec("x", DataType.FP32, (-1, 2))


@pytest.mark.parametrize(
    ("coding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("X-GZIP", gzip.compress)],
)
def test_decompression(coding, pack):
    assert decompress(pack(b"hello"), coding, 5) == b"hello"
    with pytest.raises(errors.BodyTooLarge):
        decompress(pack(b"hello!"), coding, 5)
    with pytest.raises(errors.RequestInvalid, match="ends too early"):
        decompress(pack(b"hello")[:-5], coding, 100)
    with pytest.raises(errors.RequestInvalid, match="its bytes are not"):
        decompress(b"hello", coding, 100)


def test_decompression_of_several_gzip_members():
    assert decompress(gzip.compress(b"ab") + gzip.compress(b"cd"), "gzip", 4) == b"abcd"
    with pytest.raises(errors.BodyTooLarge):
        decompress(gzip.compress(b"ab") * 3, "gzip", 4)
    assert decompress(b"x", "identity", 1) == b"x"
    with pytest.raises(errors.MediaTypeUnsupported):
        decompress(b"x", "zstd", 1)


@pytest.mark.parametrize(
    ("accept", "binary", "coding"),
    [
        ("gzip", False, "gzip"),
        ("gzip", True, "gzip"),
        ("deflate", True, "deflate"),
        ("br, gzip;q=0.5, deflate", False, "gzip"),
        ("gzip, deflate", True, None),
        ("gzip;q=0, deflate", True, "deflate"),
        ("gzip; q=0.000", False, None),
        ("br", False, None),
        ("identity", False, None),
        ("*", False, None),
    ],
)
def test_choice_of_a_coding(accept, binary, coding):
    assert choose_coding(accept, binary=binary) == coding


def test_compression_of_parts():
    assert gzip.decompress(compress([b"ab", memoryview(b"cd")], "gzip")) == b"abcd"
    assert zlib.decompress(compress([b"ab"], "deflate")) == b"ab"


async def handler(request: Request):
    return json_response(request.params)


TABLE = RouteTable(
    [
        Route("GET", "/a", handler),
        Route("POST", "/a", handler),
        Route("GET", "/m/{model}", handler),
        Route("GET", "/m/fixed", handler),
        Route("POST", "/m/{model}/v/{version}/infer", handler),
        Route("GET", "/files/{path*}", handler),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("GET", "/a", {}),
        ("HEAD", "/a", {}),
        ("GET", "/m/x", {"model": "x"}),
        ("GET", "/m/x%2Fy%20z", {"model": "x/y z"}),
        ("POST", "/m/x/v/1.0/infer", {"model": "x", "version": "1.0"}),
        ("GET", "/files/a/b/c.js", {"path": "a/b/c.js"}),
    ],
)
def test_routes_that_are_found(method, path, params):
    assert TABLE.match(method, path).params == params


def test_a_fixed_path_goes_before_a_pattern():
    assert TABLE.match("GET", "/m/fixed").route.pattern == "/m/fixed"


@pytest.mark.parametrize("path", ["/", "/b", "/m/", "/m", "/m/x/v//infer", "/m/x/y", "//a", "/A"])
def test_paths_that_are_unknown(path):
    with pytest.raises(errors.RouteUnknown):
        TABLE.match("GET", path)


def test_methods_that_a_path_does_not_take():
    with pytest.raises(errors.MethodNotAllowed, match="use GET, HEAD, POST"):
        TABLE.match("DELETE", "/a")
    assert TABLE.allowed("/m/x") == "GET, HEAD"
    with pytest.raises(errors.RouteUnknown, match="leave out the slash at its end: '/a'"):
        TABLE.match("GET", "/a/")


def test_what_a_client_sent_is_shown_safely():
    assert shown("a\n\x1b[31m'") == '"a\\n\\x1b[31m\'"'
    assert shown("a" * 100, 5) == "'aaaaa'... (100 characters)"


ERROR_CLASSES = error_classes()


def test_every_kind_of_error_has_a_status():
    assert {kind.kind for kind in ERROR_CLASSES} <= set(HTTP_STATUS)
    wanted = {
        errors.RequestInvalid: (400, 400),
        errors.BodyTooLarge: (413, 413),
        errors.ImageTooLarge: (413, 413),
        errors.ImageFormatUnsupported: (415, 415),
        errors.MediaTypeUnsupported: (415, 415),
        errors.BodyTooSlow: (408, 408),
        errors.RequestTimeout: (504, 503),
        errors.QueueFull: (429, 429),
        errors.ModelUnknown: (404, 404),
        errors.ModelNotReady: (503, 503),
        errors.EngineRunFailed: (500, 500),
        errors.TensorMismatch: (400, 400),
    }
    for kind, (v1, v2) in wanted.items():
        error = kind.__new__(kind)
        assert (http_status(error, "v1"), http_status(error, "v2")) == (v1, v2), kind
    assert http_status(ValueError(), "v1") == 500


def test_errors_in_the_format_of_each_api(caplog):
    assert [api_of(path) for path in ("/v2", "/v2/models", "/v20", "/")] == ["v2", "v2", "v1", "v1"]
    v2 = error_response(errors.RequestInvalid("no"), "v2", "id-1")
    assert json.loads(v2.body[0]) == {"error": "no"}
    v1 = error_response(errors.QueueFull("full"), "v1", "id-1")
    assert dict(v1.headers) == {"content-type": "application/problem+json", "retry-after": "1"}
    assert json.loads(v1.body[0]) == {
        "type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": "full",
        "code": "EC1605", "request_id": "id-1",
    }  # fmt: skip
    ours = error_response(errors.EngineRunFailed("/secret/path"), "v1", "id-1")
    assert "secret" not in str(ours.body)
    assert "/secret/path" in caplog.text


def test_workers_run_cancel_and_refuse():
    workers = Workers(1, max_pending=2)
    gate, started = threading.Event(), threading.Event()

    def hold() -> str:
        started.set()
        gate.wait()
        return threading.current_thread().name

    running = workers.submit(hold)
    started.wait(5)
    order: list[str] = []
    unwanted = workers.submit(order.append, "unwanted")
    last = workers.submit(order.append, "last")
    with pytest.raises(QueueFull, match="2 pieces of work wait"):
        workers.submit(order.append, "too much")
    workers.post_first(lambda: order.append("first"))
    assert unwanted.cancel()
    gate.set()
    assert running.result(5) == "worker-0"
    last.result(5)
    assert order == ["first", "last"]
    with pytest.raises(CancelledError):
        unwanted.result()
    with pytest.raises(ZeroDivisionError):
        workers.submit(lambda: 1 / 0).result(5)
    workers.close()
    for thread in workers._threads:
        thread.join(5)
        assert not thread.is_alive()


def manifest() -> Manifest:
    return Manifest(
        app=App(name="tiny", version="1.0.0"),
        model=Model(path="m.onnx"),
        pipeline=PipelineSpec(task="tensors"),
    )


def serving(model: ServedModel, scheduler: BatchScheduler, plan: str = "a" * 64) -> Serving:
    info = PlanInfo(
        backend="fake", backend_version="1", tool_version="1", stack="s", platform="p",
        device="cpu", model_digest="", graph_digest="", plan_digest=f"sha256:{plan}",
        plan_bytes=0, precision=Precision.FP32, inputs=(X,), outputs=(X,), max_batch=8,
    )  # fmt: skip
    signature = Signature((X,), (X,), 8)
    loaded = LoadedModel(None, scheduler, info, signature, [], 1, Limits(), engine_name(info))  # type: ignore[arg-type]
    return Serving(loaded, model.statistics)


@pytest.fixture
def scheduler():
    scheduler = BatchScheduler([FakeEngine([X], [X])], max_pending=4)
    yield scheduler
    scheduler.close()


PASSED = GoldenReport(True, (GoldenOutcome("a", True, ()),))


def test_a_model_becomes_ready_only_by_proof(scheduler):
    model = ServedModel(manifest())
    model.progress("simplify the graph", 1, 3)
    with pytest.raises(ModelNotReady, match=r"loading: simplify the graph \(1 of 3\)"):
        model.using()
    with pytest.raises(ModelNotReady, match="loading"):
        model.require()
    model.start_proving(serving(model, scheduler))
    assert model.state is State.PROVING
    with pytest.raises(ModelNotReady, match="golden samples are being checked"):
        model.using()
    assert model.require().instances == 1  # its tensors are known
    with pytest.raises(RuntimeError, match="from proving to proving"):
        model.start_proving(serving(model, scheduler))
    assert model.accept(PASSED) is None
    assert model.is_ready
    assert model.golden_state is GoldenState.PASSED
    assert model.load_seconds > 0
    with model.using() as used:
        assert used.loaded.engine.plan == "a" * 12
    assert model.close(5)
    assert model.state is State.CLOSED
    with pytest.raises(ModelNotReady, match="the server is stopping"):
        model.using()
    assert model.close(5)


BAD = GoldenReport(False, tuple(GoldenOutcome(f"{n}.png", False, ("no one",)) for n in range(5)))


def test_a_failed_model_stays_failed(scheduler):
    model = ServedModel(manifest())
    model.start_proving(serving(model, scheduler))
    reason = model.reject(BAD)
    assert (model.state, model.golden_state) == (State.LOADING, GoldenState.FAILED)
    assert "5 of 5 golden samples" in reason
    assert "0.png: no one; 1.png: no one; 2.png: no one; and 2 more" in reason
    model.fail(reason)
    assert (model.state, model.reason) == (State.FAILED, reason)
    with pytest.raises(RuntimeError):
        model.fail("again")


def test_a_lower_rung_may_still_become_ready(scheduler):
    model = ServedModel(manifest())
    model.start_proving(serving(model, scheduler))
    model.reject(BAD)
    model.start_proving(serving(model, scheduler))
    model.accept(None)
    assert (model.state, model.golden_state) == (State.READY, GoldenState.UNPROVEN)


def test_a_model_that_is_stopped_while_loading_never_becomes_ready(scheduler):
    model = ServedModel(manifest())
    model.stop()
    with pytest.raises(ModelNotReady, match="stopping"):
        model.start_proving(serving(model, scheduler))


@pytest.fixture
def two_schedulers():
    both = [BatchScheduler([FakeEngine([X], [X])], max_pending=4) for _ in range(2)]
    yield both
    for one in both:
        one.close()


def test_a_request_stays_with_the_plan_that_it_began_with(two_schedulers):
    model = ServedModel(manifest())
    first = serving(model, two_schedulers[0], "a" * 64)
    second = serving(model, two_schedulers[1], "b" * 64)
    model.start_proving(first)
    model.accept(PASSED)
    with model.using() as begun:
        model.start_proving(second)
        assert model.is_ready
        with model.using() as meanwhile:
            assert meanwhile is first  # a candidate that is being proven answers no request
        assert model.accept(PASSED) is first
        assert model.loaded is second.loaded
        assert not first.wait_until_unused(0)
        begun.scheduler.submit({"x": np.zeros((1, 2), np.float32)}).result(5)
        with model.using() as later:
            assert later is second
    assert first.wait_until_unused(5)
    first.close(5)
    model.forget(first)
    assert model.statistics.view.totals().inferences == 1
    assert not first.take()


def test_a_better_plan_that_fails_its_proof_changes_nothing(two_schedulers):
    model = ServedModel(manifest())
    first, second = (serving(model, one) for one in two_schedulers)
    model.start_proving(first)
    model.accept(PASSED)
    model.start_proving(second)
    model.reject(BAD)
    assert (model.state, model.golden_state, model.golden) == (
        State.READY, GoldenState.PASSED, PASSED
    )  # fmt: skip
    with model.using() as used:
        assert used is first


def test_runs_that_prove_a_plan_are_not_counted():
    statistics = ModelStatistics()
    engine = CountedEngine(FakeEngine([X], [X]), statistics)
    engine.run({"x": np.zeros((2, 2), np.float32)})
    assert statistics.view.totals().executions == 0
    engine.counting = True
    engine.run({"x": np.zeros((2, 2), np.float32)})
    totals = statistics.view.totals()
    assert (totals.executions, list(totals.batches)) == (1, [2])


def execution(compute_ns: int = 1_000_000) -> Execution:
    return Execution({}, 1, 1000, 2000, compute_ns, 3000)


def test_metrics_have_the_names_that_dashboards_expect():
    model = ServedModel(manifest())
    model.statistics.succeeded(3, 2_000_000, execution())
    model.statistics.executed(3, 1_000_000)
    model.statistics.failed("REJECTED")
    text = Metrics(lambda: [model]).render().decode()
    assert not re.search(r"nv_\w+_total\b", text.replace("_total_bytes", ""))
    names = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    sampled = {re.sub(r"_(bucket|count|sum)$", "", line.partition("{")[0].partition(" ")[0])
               for line in text.splitlines() if not line.startswith("#")}  # fmt: skip
    assert {re.sub(r"_count$", "", name) for name in names} >= sampled  # no sample is untyped
    families = {family.name: family for family in text_string_to_metric_families(text)}
    parts = ("request", "queue", "compute_input", "compute_infer", "compute_output")
    counters = {
        "nv_inference_request_success", "nv_inference_request_failure", "nv_inference_count",
        "nv_inference_exec_count", *(f"nv_inference_{part}_duration_us" for part in parts),
    }  # fmt: skip
    gauges = {
        "nv_inference_pending_request_count", "nv_model_load_duration_secs", "nv_cpu_utilization",
        "nv_cpu_memory_total_bytes", "nv_cpu_memory_used_bytes",
    }  # fmt: skip
    histograms = {f"nv_inference_{part}_duration_histogram_us" for part in parts}
    ours = {name for name in families if name.startswith("enginecrate_")}
    assert set(families) - ours == counters | gauges | histograms
    assert {families[name].type for name in counters} == {"counter"}
    assert {families[name].type for name in gauges} == {"gauge"}
    assert {families[name].type for name in histograms} == {"histogram"}

    def value(name: str, **more: str) -> float:
        labels = sorted({"model": "tiny", "version": "1.0.0", **more}.items())
        inner = ",".join(f'{key}="{text}"' for key, text in labels)
        series = f"{name}{{{inner}}} "
        (line,) = [line for line in text.splitlines() if line.startswith(series)]
        return float(line.removeprefix(series))

    assert value("nv_inference_count") == 3
    assert value("nv_inference_exec_count") == 1
    assert value("nv_inference_request_duration_us") == 2000
    assert value("nv_inference_request_failure", reason="REJECTED") == 1
    assert value("nv_inference_request_failure", reason="BACKEND") == 0
    name = "nv_inference_compute_infer_duration_histogram_us"
    assert value(f"{name}_bucket", le="500.0") == 0
    assert value(f"{name}_bucket", le="1000.0") == 1
    assert value(f"{name}_bucket", le="+Inf") == value(f"{name}_count") == 1
    assert value(f"{name}_sum") == 1000


def test_two_servers_do_not_share_a_registry():
    first, second = ServedModel(manifest()), ServedModel(manifest())
    first.statistics.succeeded(1, 1, execution())
    assert b"nv_inference_count" in Metrics(lambda: [first]).render()
    assert (
        b'nv_inference_count{model="tiny",version="1.0.0"} 0.0'
        in Metrics(lambda: [second]).render()
    )


def test_host_readings(tmp_path):
    meter = CpuMeter()
    assert 0 <= meter.read() <= 1
    total, used = memory_bytes()
    assert 0 < used < total
    (tmp_path / "stat").write_text("cpu  10 0 10 70 10 0 0 0 0 0\n")
    fixed = CpuMeter(tmp_path)
    (tmp_path / "stat").write_text("cpu  40 0 10 130 10 0 0 10 0 0\n")
    assert fixed.read() == pytest.approx(0.4)
    assert fixed.read() == 0
    assert memory_bytes(tmp_path) == (0, 0)
    assert CpuMeter(tmp_path / "nowhere").read() == 0


def test_percentiles():
    statistics = ModelStatistics()
    assert statistics.view.latencies().percentile("total", 50) is None
    statistics.answered(3.0, 0.0, 1e9)
    latencies = statistics.view.latencies()
    assert latencies.percentile("total", 95) == pytest.approx(3.0, rel=0.03)
    assert latencies.percentile("queue", 95) == pytest.approx(0.0, abs=0.001)
    assert latencies.percentile("compute", 95) > 1e6  # the last bucket has no end
    for number in range(2, 101):
        statistics.answered(3.0 * number, 0.001 * number, 1.0)
    latencies = statistics.view.latencies()
    for percent in (1, 50, 95, 99, 100):
        assert latencies.percentile("total", percent) == pytest.approx(3.0 * percent, rel=0.03)
    assert latencies.percentile("queue", 20) == pytest.approx(0.02, abs=0.001)


def test_the_window_of_recent_latencies():
    statistics = ModelStatistics()
    for total in (1.0, 2.0):
        statistics.answered(total, 0.1, 0.5)
    assert statistics.view.latencies().count == 2


@pytest.fixture
def restored_logging():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


def logged(form: str, level: str = "info") -> list[str]:
    stream = io.StringIO()
    configure_logs(
        load_settings(environment={}, flags={"log_format": form, "log_level": level}), stream
    )
    fields = {"model": "m", "batch": 2, "queue_us": 7, "compute_us": 9}
    log_request("POST", "/v1/predict\n\x1b" + "a" * 200, 200, 0.0123, "id-1", ("t", "s"), fields)
    log_request("GET", "/v2/health/live", 200, 0.001, "id-2", None, {})
    log_request("GET", "/nowhere", 404, 0.001, "id-3", None, {"error": "no path"})
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("enginecrate.test").exception("something broke")
    return stream.getvalue().splitlines()


def test_logs_as_json(restored_logging):
    lines = [json.loads(line) for line in logged("json")]
    assert [line["level"] for line in lines] == ["info", "info", "error"]
    first = lines[0]
    assert first["timestamp"].endswith("Z")
    assert first["timestamp"][10] == "T"
    assert "\\n\\x1b" in first["message"]
    assert len(first["message"]) < 200
    wanted = {
        "request_id": "id-1", "protocol": "http", "status": 200, "duration_us": 12300, "model": "m",
        "batch": 2, "queue_us": 7, "compute_us": 9, "trace_id": "t", "span_id": "s",
    }  # fmt: skip
    assert wanted.items() <= first.items()
    assert lines[1]["error"] == "no path"
    assert "ValueError: why" in lines[2]["exception"]
    assert any("/v2/health/live" in line for line in logged("json", "debug"))


def test_logs_as_text_for_people(restored_logging):
    lines = logged("text")
    assert lines[0].split()[1:3] == ["INFO", "POST"]
    assert "batch=2  queue_us=7  compute_us=9  request_id=id-1" in lines[0]
    assert lines[-1] == "ValueError: why"
    assert "{" not in lines[0]


def test_formatters_take_records_of_other_libraries():
    record = logging.LogRecord("other", logging.WARNING, "f", 1, "%s!", ("hello",), None)
    assert json.loads(JsonFormatter().format(record))["message"] == "hello!"
    assert TextFormatter().format(record).endswith("WARNING hello!")


def request(path: str = "/", **headers: str) -> Request:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("GET", path, {}, names, b"", "id", 0.0, {"path": path.removeprefix("/assets/")})


def test_static_files_come_from_a_fixed_list(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>" + " " * 2000)
    (tmp_path / "assets" / "app.js").write_text("1")
    (tmp_path / "assets" / ".hidden.js").write_text("1")
    (tmp_path / "assets" / "secret.py").write_text("1")
    workers = Workers(1, max_pending=4)
    static = StaticRoutes(workers, tmp_path)
    try:
        page = asyncio.run(static.dashboard(request(accept_encoding="gzip, br")))
        headers = dict(page.headers)
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert headers["content-encoding"] == "gzip"
        assert gzip.decompress(page.body[0]).startswith(b"<!doctype html>")
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        again = asyncio.run(static.dashboard(request(if_none_match=headers["etag"])))
        assert (again.status, again.body) == (304, ())
        script = asyncio.run(static.asset(request("/assets/app.js")))
        assert script.body == (b"1",)
        for path in (".hidden.js", "secret.py", "../index.html", "/etc/passwd", "", "app.js\0"):
            with pytest.raises(errors.RouteUnknown):
                asyncio.run(static.asset(request(f"/assets/{path}")))
    finally:
        workers.close()


def test_pages_are_served(tiny_server):
    with tiny_server.client() as client:
        for path in ("/", "/docs"):
            page = client.get(path)
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert page.headers["x-content-type-options"] == "nosniff"
            tag = {"if-none-match": page.headers["etag"]}
            assert client.get(path, headers=tag).status_code == 304
        assert client.get("/docs/").status_code == 404
        assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
        assert client.get("/assets/app.js").status_code == 200
        assert (
            client.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
        )


def test_a_gzip_body_of_several_members():
    blocks = [bytes([number]) * 100_000 for number in range(20)]
    body = b"".join(gzip.compress(block) for block in blocks)
    assert decompress(body, "gzip", 2_000_000) == b"".join(blocks)
    with pytest.raises(errors.BodyTooLarge):
        decompress(body, "gzip", 1_999_999)
    with pytest.raises(errors.RequestInvalid, match="ends too early"):
        decompress(body[:-1], "gzip", 2_000_000)


def test_a_gzip_body_of_countless_members_costs_nothing():
    with pytest.raises(errors.RequestInvalid, match="more than 4096 members; compress it"):
        decompress(gzip.compress(b"") * 1_000_000, "gzip", 1000)
    assert decompress(gzip.compress(b"") * 4096, "gzip", 1000) == b""


def test_a_device_that_is_lost_ends_the_model_that_serves_and_no_candidate(scheduler):
    model = ServedModel(manifest())
    told: list[DeviceLost] = []
    model.on_device_lost = told.append
    error = DeviceLost("an illegal address was met")
    model.start_proving(serving(model, scheduler))
    model.lose(scheduler, error)
    assert (model.state, told) == (State.PROVING, [])
    model.accept(PASSED)
    model.lose(BatchScheduler([FakeEngine([X], [X])], max_pending=4), error)
    assert (model.state, told) == (State.READY, [])
    model.lose(scheduler, error)
    assert (model.state, told) == (State.FAILED, [error])
    with pytest.raises(ModelNotReady, match="lost: an illegal address"):
        model.using()
    assert model.close(5)
