"""What happened: a request id, one line in the log, figures for Prometheus, and the audit log. By route template, never by raw path."""

from __future__ import annotations

import logging
import os
import re
import time
import uuid
from datetime import UTC, datetime

from fastapi.concurrency import run_in_threadpool
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lineage.errors import LineageError
from lineage.model.access import Scope as AccessScope
from lineage.model.access import without_tokens
from lineage.model.materialisation import JobState
from lineage.ports.jobs import JobQuery, JobRequests
from service.access import Principal, needed_by
from service.audit import AuditLog

log = logging.getLogger("service.requests")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REFUSED = frozenset({401, 403, 413, 429})
_MOST_JOBS = 1_000
_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Figures:
    """Figures of one app, in a registry of its own; of all processes together where several answer on one port."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "lineage_http_requests", "Requests that were answered.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "lineage_http_request_seconds",
            "Time from a request to the end of its answer.",
            ("method", "route"),
            buckets=_BOUNDS_S,
            registry=self.registry,
        )
        self.open = Gauge(
            "lineage_http_requests_open", "Requests that are being answered.", registry=self.registry, multiprocess_mode="livesum"
        )
        self._is_shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ  # set by service.server for several processes
        if not self._is_shared:
            ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        """The figures in Prometheus' text form."""
        if not self._is_shared:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def figures_of_jobs(jobs: JobRequests | None) -> bytes:
    """How many re-materialisations wait and run, and how long the first one has waited; nothing when the queue cannot be asked."""
    if jobs is None:
        return b""
    try:
        found = {state: jobs.find(JobQuery(state=state, limit=_MOST_JOBS)).jobs for state in (JobState.queued, JobState.running)}
    except LineageError:
        return b""
    registry, now = CollectorRegistry(), datetime.now(UTC)
    count = Gauge("lineage_jobs", f"Jobs in a state; {_MOST_JOBS} stands for more, too.", ("state",), registry=registry)
    wait = Gauge("lineage_jobs_longest_wait_seconds", "How long the job that waits longest has waited.", registry=registry)
    for state, waiting in found.items():
        count.labels(state.value).set(len(waiting))
    wait.set(max([0.0, *((now - job.requested_at).total_seconds() for job in found[JobState.queued])]))
    return generate_latest(registry)


def observed(app: ASGIApp, *, figures: Figures, audit: AuditLog | None) -> ASGIApp:
    """The app, telling what happened.

    ``X-Request-ID`` is taken over from the request when it has a plain form, made otherwise, and sent back.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) and without_tokens(given) == given else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500  # of an error that nobody foresaw: it is answered further outside

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        began = time.perf_counter()
        figures.open.inc()
        try:
            await app(scope, receive, send_with_id)
        finally:
            figures.open.dec()
            await _tell(scope, status, time.perf_counter() - began, figures, audit)

    return answer


async def _tell(scope: Scope, status: int, seconds: float, figures: Figures, audit: AuditLog | None) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    route = scope.get("route")
    template: str = getattr(route, "path", "(none)")
    figures.requests.labels(method, template, str(status)).inc()
    figures.seconds.labels(method, template).observe(seconds)
    principal: Principal | None = scope["state"].get("principal")
    who = principal.who if principal else f"address {(scope.get('client') or ('unknown',))[0]}"
    log.info(
        "%s %s %d",
        method,
        template,
        status,
        extra={
            "facts": {
                "request_id": scope["state"]["request_id"],
                "method": method,
                "route": template,
                "status": status,
                "ms": round(1000 * seconds, 3),
                "who": who,
            }
        },
    )
    is_change = route is not None and needed_by(route, scope["method"]) is not AccessScope.read
    if audit is not None and (is_change or status in _REFUSED):
        run_id = str(scope.get("path_params", {}).get("id", ""))[:64]
        await run_in_threadpool(audit.note, who, f"{method} {template.replace('{id}', run_id) if run_id else template}", status)
