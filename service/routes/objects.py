"""``/api/v1/objects``: bytes under their digest, for clients that record to this service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import IO, Annotated, cast

from anyio import from_thread
from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from lineage.errors import IntegrityError, NotFound, UsageError
from service.dependencies import PortsOf
from service.problems import responses

router = APIRouter(prefix="/api/v1/objects", tags=["store"])

LARGEST_BYTES = 64 << 30
ObjectDigest = Annotated[
    str, Path(alias="digest", description="`sha256:` and 64 hexadecimal digits of the content.", pattern=r"^sha256:[0-9a-f]{64}$")
]
_CONTENT = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


@router.get("/{digest}", response_class=FileResponse, responses={200: {"content": _CONTENT}, **responses(404, 422)})
@router.head("/{digest}", response_class=FileResponse, include_in_schema=False)
def get_object(ports: PortsOf, digest: ObjectDigest) -> FileResponse:
    """The content; parts of it with `Range`. Check it against its digest."""
    path = ports.objects.path_of(digest)
    if path is None:
        raise NotFound("object", digest)
    return FileResponse(path, media_type="application/octet-stream", headers={"Cache-Control": "private, immutable, max-age=31536000"})


@router.put(
    "/{digest}",
    status_code=204,
    responses=responses(400, 422),
    openapi_extra={"requestBody": {"required": True, "content": _CONTENT}},
)
async def put_object(
    request: Request, ports: PortsOf, digest: ObjectDigest, size: Annotated[int, Header(alias="content-length", ge=0)]
) -> Response:
    """Keep the body under its digest, which is checked; kept already, nothing changes."""
    if size > LARGEST_BYTES:
        raise UsageError(f"an object may have {LARGEST_BYTES} bytes, this one has {size}")
    body = _Body(request.stream())
    try:
        await run_in_threadpool(ports.objects.put_stream, cast("IO[bytes]", body), size, digest)
    except IntegrityError as error:  # the client's mistake, not this store's
        raise UsageError(error.message, hint="send the content that the address names, whole") from error
    return Response(status_code=204)


class _Body:
    """A request's body as a stream that a thread reads."""

    def __init__(self, blocks: AsyncIterator[bytes]) -> None:
        self._blocks = blocks
        self._left = b""

    async def _next(self) -> bytes:
        async for block in self._blocks:
            if block:
                return block
        return b""

    def read(self, size: int) -> bytes:
        if not self._left:
            self._left = from_thread.run(self._next)
        part, self._left = self._left[:size], self._left[size:]
        return part
