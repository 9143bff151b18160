"""Whether a store answers, found out before Deep Lake asks.

Measured: it goes on asking for 44 s to 70 s without a network, and for 30 s when a bucket is missing or a folder may not be read.
"""

from __future__ import annotations

import http.client
import os
import socket
import time
from http import HTTPStatus
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

from lineage.errors import NotFound, Unavailable
from lineage.model.dataset import local_path
from lineage.model.secrets import redact_text

_PATIENCE_S = 5.0
_TRUSTED_S = 60.0
_PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
CREDENTIALS_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; they are never recorded"
_answered: dict[tuple[SplitResult, str], float] = {}


def check_reachable(uri: str) -> None:
    """Return when a dataset's folder may be listed, or the server of an ``s3://`` address answers and does not deny the bucket.

    Also returns when that cannot be told from here: other stores, a proxy, profiles.

    Raises:
        NotFound: There is no such bucket.
        Unavailable: The folder may not be listed, no server answers within 5 s, or the bucket is closed to strangers and there are no
            credentials.
    """
    folder = local_path(uri)
    if folder is not None:
        _check_folder(uri, folder)
        return
    server, bucket = _server(uri), uri.partition("://")[2].partition("/")[0]
    if server is None or time.monotonic() - _answered.get((server, bucket), -_TRUSTED_S) < _TRUSTED_S:
        return
    shown = redact_text(uri)
    try:
        socket.create_connection((server.hostname or "", _port(server)), timeout=_PATIENCE_S).close()
    except OSError as error:
        raise Unavailable(
            f"{server.hostname}:{_port(server)}, where {shown} is kept, cannot be reached: {error}",
            hint="check the network; AWS_ENDPOINT_URL and AWS_REGION say which server is asked",
        ) from error
    status = _status(server, bucket)
    if status in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED) and not may_have_credentials():
        raise Unavailable(f"{shown}: the bucket is closed to strangers, and no credentials were found", hint=CREDENTIALS_HINT)
    if status == HTTPStatus.NOT_FOUND:
        raise NotFound("bucket", bucket.rpartition("@")[2], detail=f"{server.hostname} does not know it, asked for {shown}")
    _answered[server, bucket] = time.monotonic()


def may_have_credentials() -> bool:
    """Whether something on this machine may say who is asking ``s3://``: a variable, a file, or the role of an EC2 machine."""
    if any(os.environ.get(name) for name in _CREDENTIALS):
        return True
    named = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}
    if any(Path(os.environ.get(name, usual)).expanduser().is_file() for name, usual in named.items()):
        return True
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return False
    try:
        # The machine's maker is asked, not the network: elsewhere nobody answers at the address of the role, for many seconds.
        return "amazon" in Path("/sys/class/dmi/id/sys_vendor").read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        return True  # cannot be known


def _check_folder(uri: str, folder: Path) -> None:
    try:
        os.scandir(folder / "_deeplake_log" / "_meta").close()
    except PermissionError as error:
        raise Unavailable(f"no permission at {uri}: {error}", hint="ask its owner for the right to read, or work on a copy") from error
    except OSError:
        return  # Deep Lake says better what is not there


def _status(server: SplitResult, bucket: str) -> int | None:
    """What the server says of a bucket without any credentials: 404 when there is none, else mostly that it is forbidden."""
    kind = http.client.HTTPConnection if server.scheme == "http" else http.client.HTTPSConnection
    connection = kind(server.hostname or "", _port(server), timeout=_PATIENCE_S)
    try:
        connection.request("HEAD", f"/{quote(bucket)}")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None  # certificates of its own, for example; Deep Lake may know them
    finally:
        connection.close()


def _port(server: SplitResult) -> int:
    return server.port or (80 if server.scheme == "http" else 443)


def _server(uri: str) -> SplitResult | None:
    scheme = uri.partition("://")[0]
    if scheme != "s3" or any(os.environ.get(name) for name in _PROXIES):
        return None
    config = Path(os.environ.get("AWS_CONFIG_FILE", "~/.aws/config")).expanduser()
    if os.environ.get("AWS_PROFILE") or config.is_file():
        return None  # it may name another server
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not endpoint:
        endpoint = f"https://s3.{region}.amazonaws.com" if region else "https://s3.amazonaws.com"
    return urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
