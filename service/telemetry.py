"""Spans of requests for an OpenTelemetry collector; off, and nothing imported, unless the usual variables name one."""

from __future__ import annotations

import os
import threading
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lineage.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_PATIENCE_S = 3.0  # for the last spans
_UNTOLD = frozenset({"/healthz", "/readyz", "/metrics", "/static"})  # asked every few seconds, and nobody looks for them
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Spans:
    """Sends a span for each request: by route template, never with a path, a query, a header, a body or the text of an error.

    Args:
        provider: Makes spans and sends them from a thread of its own.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    def around(self, app: ASGIApp) -> ASGIApp:
        """The app, with a span for each request; it belongs to the trace that the request's ``traceparent`` names."""
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        tracer, traces = self._provider.get_tracer("lineage.service"), TraceContextTextMapPropagator()

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or f"/{scope['path'].split('/')[1]}" in _UNTOLD:
                await app(scope, receive, send)
                return
            status = 500

            async def send_noting(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
            given = {name: value for name, value in Headers(scope=scope).items() if name in ("traceparent", "tracestate")}
            # The error itself is not recorded: its text may hold what somebody sent.
            with tracer.start_as_current_span(
                method, traces.extract(given), SpanKind.SERVER, record_exception=False, set_status_on_exception=False
            ) as span:
                try:
                    await app(scope, receive, send_noting)
                except BaseException as error:
                    span.set_attribute("error.type", type(error).__qualname__)
                    raise
                finally:
                    template = getattr(scope.get("route"), "path", "")
                    span.update_name(f"{method} {template}".rstrip())
                    facts = {"http.request.method": method, "http.response.status_code": status, "url.scheme": scope.get("scheme", "http")}
                    span.set_attributes(facts | {"lineage.request_id": scope.get("state", {}).get("request_id", "")})
                    if template:
                        span.set_attribute("http.route", template)
                    if status >= 500:
                        span.set_status(Status(StatusCode.ERROR))

        return answer

    def close(self) -> None:
        """Send what is left, for three seconds at most: a collector that is away must not hold the end up."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True, name="last spans")
        last.start()
        last.join(_PATIENCE_S)


def spans_to_collector() -> Spans | None:
    """Spans to the collector that ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``…_TRACES_ENDPOINT``) names; ``None`` when none does.

    The other ``OTEL_*`` variables are obeyed as OpenTelemetry's own software development kit reads them.

    Raises:
        MissingExtra: The kit is not installed.
        UsageError: A variable asks for another protocol than ``http/protobuf``.
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return None
    for package in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        if not _is_installed(package):
            raise MissingExtra(package, "otel")
    if wrong := next((name for name in _PROTOCOLS if os.environ.get(name, _PROTOCOL) != _PROTOCOL), None):
        raise UsageError(f"{wrong} is '{os.environ[wrong]}'", hint=f"spans are sent as {_PROTOCOL}: leave it out")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = Resource.create({"service.version": version("dataset-lineage")})
    if "OTEL_SERVICE_NAME" not in os.environ and "service.name" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        named = named.merge(Resource({"service.name": "lineage"}))
    provider = TracerProvider(resource=named, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Spans(provider)


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of a package above it
        return False
