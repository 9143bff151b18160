"""A DVC remote of any kind, by DVC's own configuration and DVC's own data layer.

Files lie in the remote as ``dvc push`` lays them: ``files/md5/ab/cdef…``.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from dvc.config import ConfigError, NoRemoteError, RemoteConfigError
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo
from dvc_objects.fs.local import localfs

from lineage.errors import LineageError, NotFound, Unavailable, UsageError
from lineage.model.secrets import REDACTED, is_secret_name, redact_text

_SHORTEST_SECRET = 4
_ALSO_SECRET = ("user", "access_key_id", "connection_string", "sas_token", "account_key", "custom_auth_header", "ask_password")
"""Options of remotes that hold credentials under other names than the usual ones."""


class DvcRemote:
    """A remote of the DVC repository around a folder; see :class:`lineage.ports.Remote`.

    Args:
        folder: In a DVC repository.
        name: Which remote; its default one without a name.

    Raises:
        UsageError: There is no DVC repository or no such remote, or it is one that keeps versions by itself.
        Unavailable: The package for this kind of remote is not installed.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        try:
            with Repo(str(folder)) as repo:
                self._remote = repo.cloud.get_remote(name, "push")
                self._config = dict(repo.config["remote"][self._remote.name])
        except NotDvcRepoError:
            raise UsageError(
                f"{folder} is in no DVC repository", hint="go into one, or name it with --repo; `dvc init` makes one"
            ) from None
        except (NoRemoteError, RemoteConfigError, ConfigError) as error:
            told = str(error).splitlines()[0]
            raise UsageError(
                f"DVC remote: {redact_text(told)}", hint="`dvc remote list` shows remotes, `dvc remote add` makes one"
            ) from None
        except DvcException as error:  # a package for this scheme is missing, for example
            raise Unavailable(f"DVC remote '{name or 'default'}' cannot be used: {redact_text(str(error).splitlines()[0])}") from None
        if self._remote.worktree or self._remote.fs.version_aware:
            raise UsageError(
                f"DVC remote '{self._remote.name}' keeps versions by itself (version_aware or worktree) and no files under their MD5",
                hint="name another one with --remote",
            )

    @property
    def name(self) -> str:
        """As configured."""
        return str(self._remote.name)

    @cached_property
    def address(self) -> str:
        """The configured address without user, password and query."""
        parts = urlsplit(str(self._config.get("url", "")))
        if not parts.scheme:
            return str(self._remote.path)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))

    @property
    def jobs(self) -> int:
        """One for a folder, else what DVC itself uses."""
        return 1 if self._is_folder else min(16, int(self._remote.fs.jobs))

    @property
    def _is_folder(self) -> bool:
        return str(self._remote.fs.protocol) == "local"

    def size_of(self, md5: str) -> int | None:
        """Asks for the size only."""
        with self._errors():
            try:
                info = self._remote.fs.info(self._path(md5))
            except FileNotFoundError:
                self._check_folder()
                return None
            size = info.get("size")
            return -1 if size is None else int(size)

    def put(self, file: Path, md5: str) -> None:
        """Through DVC, which writes aside and renames where that is not done by the storage itself."""
        with self._errors():
            self._check_folder()
            self._remote.odb.add(str(file), localfs, md5, check_exists=False)

    def md5_of(self, md5: str) -> str:
        """Fetched whole into a temporary file: to read in blocks, DVC asks for ranges, which not every HTTP server gives."""
        with tempfile.TemporaryDirectory(prefix="lineage-read-back-") as folder:
            self.get(md5, file := Path(folder, md5))
            with file.open("rb") as stream:
                return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

    def get(self, md5: str, file: Path) -> None:
        """Nothing is checked here: the caller knows both digests."""
        with self._errors(md5):
            self._remote.fs.get_file(self._path(md5), str(file))

    def _path(self, md5: str) -> str:
        return str(self._remote.odb.oid_to_path(md5))

    def _check_folder(self) -> None:
        # DVC would make the whole path: on a disk that is not mounted that is a new, empty remote on another disk.
        if self._is_folder and not Path(self._remote.path).parent.is_dir():
            raise Unavailable(
                f"DVC remote '{self.name}' is gone: there is no folder {Path(self._remote.path).parent}",
                hint="mount it, or correct the remote's url (`dvc remote modify`)",
            )

    @contextlib.contextmanager
    def _errors(self, md5: str | None = None) -> Iterator[None]:
        try:
            yield
        except LineageError:
            raise
        except FileNotFoundError:
            self._check_folder()
            raise NotFound("object", md5 or "", detail=f"DVC remote '{self.name}' ({self.address}) does not have it") from None
        except Exception as error:  # noqa: BLE001 - every kind of remote has errors of its own
            # Not from the error: its text, and that of what caused it, may hold credentials.
            raise Unavailable(
                f"DVC remote '{self.name}' ({self.address}) cannot be used: {self._told(error)}",
                hint="what was transferred stays; the same command again goes on from there",
            ) from None

    def _told(self, error: Exception) -> str:
        lines = str(error).strip().splitlines()
        text = redact_text(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)
        for option, value in self._config.items():
            if (is_secret_name(option) or option in _ALSO_SECRET) and len(str(value)) >= _SHORTEST_SECRET:
                text = text.replace(str(value), REDACTED)
        return text
