"""What routes ask for."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Path, Request

from lineage.ports import Ports


async def ports_of(request: Request) -> Ports:
    """The ports this app was made with. A coroutine, because FastAPI would send a plain function to a thread."""
    return cast(Ports, request.app.state.ports)


PortsOf = Annotated[Ports, Depends(ports_of)]
RunName = Annotated[
    str, Path(alias="id", description="Run id: 32 hexadecimal digits, or a unique prefix of one.", max_length=64, examples=["4f0c2a"])
]
ModelDigest = Annotated[
    str,
    Path(
        alias="digest",
        description="Digest of the model's weights file: `sha256:` and 64 hexadecimal digits, as `sha256sum` prints them.",
        pattern=r"^sha256:[0-9a-f]{64}$",
    ),
]
