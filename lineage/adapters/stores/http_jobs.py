"""Jobs of a service: asked for and followed over HTTP."""

from __future__ import annotations

import json
import uuid
from typing import IO
from urllib.parse import quote, urlencode

from lineage.adapters.stores.http_client import HttpClient
from lineage.model.materialisation import Happened, Materialisation, MaterialisationRequest
from lineage.ports.jobs import JobPage, JobQuery

_JOBS = "/api/v1/materialisations"


class HttpJobRequests:
    """See :class:`lineage.ports.jobs.JobRequests`; the queue is the service's.

    Args:
        client: Of the service.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def enqueue(self, run_id: str, request: MaterialisationRequest, *, by: str, key: str | None = None) -> Materialisation:
        """Ask for a job. Who asks is the token's affair; without a key one is made up, so that a try after a lost answer asks once."""
        path = f"/api/v1/runs/{quote(run_id, safe='')}/materialisations"
        body = request.model_dump_json(exclude_defaults=True).encode()
        answer = self._client.send(
            "POST", path, body, missing=("run", run_id), headers={"Idempotency-Key": key or uuid.uuid4().hex}, needs="execute"
        )
        return Materialisation.model_validate_json(answer.body)

    def get(self, job_id: str) -> Materialisation:
        return self._job("GET", job_id, "")

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        found = self._client.send("GET", f"{_JOBS}?{urlencode({'prefix': prefix, 'limit': limit})}").json()
        return [item["id"] for item in found["items"]]

    def find(self, query: JobQuery) -> JobPage:
        told = {"run": query.run_id, "state": query.state, "cursor": query.after, "limit": query.limit}
        given = {name: str(value) for name, value in told.items() if value is not None}
        found = self._client.send("GET", f"{_JOBS}?{urlencode(given)}").json()
        return JobPage(tuple(Materialisation.model_validate(item) for item in found["items"]), found["next_cursor"])

    def happened(self, job_id: str, after: int, limit: int = 1_000) -> list[Happened]:
        """What happened since; asked for again and again, it follows a job without holding a connection."""
        path = f"{_JOBS}/{quote(job_id, safe='')}/events?follow=false&after={after}"
        text = self._client.send("GET", path, missing=("job", job_id)).body.decode()
        return [_event(part) for part in text.split("\n\n") if part.strip() and not part.startswith(":")]

    def cancel(self, job_id: str) -> Materialisation:
        return self._job("POST", job_id, "/cancel")

    def retry(self, job_id: str) -> Materialisation:
        return self._job("POST", job_id, "/retry")

    def fetch(self, job_id: str, target: IO[bytes]) -> None:
        """Write the files of a job, as one compressed archive, to an empty file.

        Raises:
            NotFound: There is no such job, or its files were deleted.
            Conflict: It has none.
        """
        self._client.send("GET", f"{_JOBS}/{quote(job_id, safe='')}/files", missing=("files of job", job_id[:12]), target=target)

    def close(self) -> None:
        self._client.close()

    def _job(self, method: str, job_id: str, what: str) -> Materialisation:
        path = f"{_JOBS}/{quote(job_id, safe='')}{what}"
        needs = "execute" if method == "POST" else "read"
        return Materialisation.model_validate_json(self._client.send(method, path, missing=("job", job_id), needs=needs).body)


def _event(part: str) -> Happened:
    fields = dict(line.split(": ", 1) for line in part.splitlines())
    told = json.loads(fields["data"])
    if fields["event"] == "log":
        return Happened(number=int(fields["id"]), text=told["text"])
    return Happened(number=int(fields["id"]), job=Materialisation.model_validate(told))
