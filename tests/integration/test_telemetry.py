"""Spans for an OpenTelemetry collector: what reaches it, and what never does. Figures of the queue for Prometheus."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from lineage.errors import UsageError
from lineage.model.materialisation import MaterialisationRequest
from lineage.settings import Settings
from lineage.wiring_jobs import job_queue
from service.telemetry import spans_to_collector
from tests.support.serve_process import Serving, serving

SECRET = "ln_secret-in-a-query"


class Collector:
    """Takes what is sent, over real HTTP."""

    def __init__(self, port: int, requests: list[tuple[str, dict[str, str], bytes]]) -> None:
        self.address, self._requests = f"http://127.0.0.1:{port}", requests

    @property
    def raw(self) -> bytes:
        return b"".join(body for _, _, body in self._requests)

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [(path, headers.get("x-key", "")) for path, headers, _ in self._requests]

    def spans(self) -> dict[str, Span]:
        """By request id."""
        found: dict[str, Span] = {}
        for _, _, body in self._requests:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    found |= {facts(span)["lineage.request_id"]: span for span in scope.spans}
        return found

    def services(self) -> set[str]:
        requests = [ExportTraceServiceRequest.FromString(body) for _, _, body in self._requests]
        attributes = [item for request in requests for one in request.resource_spans for item in one.resource.attributes]
        return {item.value.string_value for item in attributes if item.key == "service.name"}


def facts(span: Span) -> dict[str, str]:
    return {item.key: item.value.string_value or str(item.value.int_value) for item in span.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    taken: list[tuple[str, dict[str, str], bytes]] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Collector(server.server_address[1], taken)
    server.shutdown()
    thread.join(20)
    server.server_close()


def ask(service: Serving, path: str, **headers: str) -> int:
    return service.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})[0]


def test_a_span_for_each_request(collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Route, status, request id and the caller's trace reach the collector when the service ends; no path, query, token or address does."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=collector-key")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with serving(tmp_path, str(tmp_path / "team")) as service:
        assert ask(service, f"/api/v1/runs?project={SECRET}", x_request_id="r1", traceparent=f"00-{trace}-00f067aa0ba902b7-01") == 200
        assert ask(service, f"/api/v1/runs/{'c' * 32}", x_request_id="r2", authorization=f"Bearer {SECRET}") == 404
        assert ask(service, f"/nowhere/{SECRET}", x_request_id="r3") == 404
        assert ask(service, "/readyz", x_request_id="r4") == 200
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0, service.said()

    spans = collector.spans()
    assert {name: span.name for name, span in spans.items()} == {"r1": "GET /api/v1/runs", "r2": "GET /api/v1/runs/{id}", "r3": "GET"}
    assert facts(spans["r1"]) == {
        "http.request.method": "GET",
        "http.route": "/api/v1/runs",
        "http.response.status_code": "200",
        "url.scheme": "http",
        "lineage.request_id": "r1",
    }
    assert (spans["r1"].trace_id.hex(), spans["r1"].parent_span_id.hex()) == (trace, "00f067aa0ba902b7")
    assert spans["r2"].trace_id.hex() != trace
    assert spans["r1"].end_time_unix_nano > spans["r1"].start_time_unix_nano
    assert {span.kind for span in spans.values()} == {Span.SPAN_KIND_SERVER}
    assert {span.status.code for span in spans.values()} == {Status.STATUS_CODE_UNSET}, "a client's mistake is no error of the server"
    assert collector.services() == {"lineage"}
    assert set(collector.headers) == {("/v1/traces", "collector-key")}
    for hidden in (SECRET.encode(), b"c" * 32, b"127.0.0.1", b"nowhere"):
        assert hidden not in collector.raw


def test_an_error_is_marked_without_its_text(collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that fails in an unforeseen way has a span with the kind of error; what it said stays here."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    script = (
        "import sys, asyncio\n"
        "from service.telemetry import spans_to_collector\n"
        "async def app(scope, receive, send):\n"
        f"    raise KeyError('{SECRET}')\n"
        "spans = spans_to_collector()\n"
        "scope = {'type': 'http', 'path': '/x', 'method': 'GET', 'headers': [], 'state': {'request_id': 'r9'}}\n"
        "try:\n    asyncio.run(spans.around(app)(scope, None, None))\n"
        "except KeyError:\n    spans.close()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, env=os.environ)
    span = collector.spans()["r9"]
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert facts(span)["error.type"] == "KeyError"
    assert SECRET.encode() not in collector.raw


@pytest.mark.parametrize("way", ["refuses", "never answers"])
def test_a_collector_that_is_away_holds_nothing_up(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are answered as ever, the service ends within seconds and with 0, and its log stays JSON without keys."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if way == "never answers" else 9
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=collector-key")
        with serving(tmp_path, str(tmp_path / "team")) as service:
            assert ask(service, "/api/v1/runs") == 200
            began = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(30) == 0, service.said()
            assert time.monotonic() - began < 15
            assert "collector-key" not in service.said()
            assert all(line.startswith("{") for line in service.said().splitlines()[1:]), service.said()


def test_off_unless_an_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, or disabled, nothing of OpenTelemetry is imported; another protocol is refused by the variable's name."""
    script = "import sys, service.telemetry as t; assert t.spans_to_collector() is None; assert 'opentelemetry' not in sys.modules"
    for variables in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}):
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60, env=os.environ | variables)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(UsageError, match="OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'"):
        spans_to_collector()


def test_figures_tell_of_the_queue(tmp_path: Path) -> None:
    """Jobs that wait and run, and the longest wait: what an alarm for missing workers needs. With several processes, too."""
    place = Settings(str(tmp_path / "team"), tmp_path / "team")
    queue, request = job_queue(place), MaterialisationRequest(what="data")
    for number in range(3):
        queue.enqueue("a" * 32, request, by="ada", key=str(number))
    assert queue.claim("w", ["data"], 30.0) is not None
    with serving(tmp_path, str(tmp_path / "team"), "--workers", "2") as service:
        figures = service.get("/metrics")[1].decode()
        assert 'lineage_jobs{state="queued"} 2.0' in figures
        assert 'lineage_jobs{state="running"} 1.0' in figures
        waited = float(figures.partition("\nlineage_jobs_longest_wait_seconds ")[2].split()[0])
        assert 0 < waited < 120
    queue.close()
