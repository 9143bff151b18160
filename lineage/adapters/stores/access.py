"""Tokens and the audit log in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from lineage.adapters.stores.database import Database
from lineage.adapters.stores.schema import MIGRATIONS
from lineage.errors import Conflict, NotFound, Unavailable
from lineage.model.access import AccessToken, AuditEntry, Scope
from lineage.model.words import instant

_TOKEN = "id, name, scopes, digest, created_at, expires_at, revoked_at"


class SqlAccessStore:
    """Access store over a relational database; see :class:`lineage.ports.access.AccessStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_token(self, token: AccessToken) -> None:
        """Keep a new token."""
        with self._database.writing() as execute:
            same = [_token(row) for row in execute(f"SELECT {_TOKEN} FROM access_tokens WHERE name = ?", (token.name,))]
            if any(other.is_valid(token.created_at) for other in same):
                raise Conflict(
                    f"there is a token '{token.name}' already", hint=f"choose another name, or `lineage tokens revoke {token.name}` first"
                )
            execute(
                f"INSERT INTO access_tokens ({_TOKEN}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    token.id,
                    token.name,
                    " ".join(sorted(token.scopes)),
                    token.digest,
                    instant(token.created_at),
                    _maybe(token.expires_at),
                    _maybe(token.revoked_at),
                ),
            )

    def tokens(self) -> list[AccessToken]:
        """Every token, newest first."""
        with self._database.reading() as execute:
            return [_token(row) for row in execute(f"SELECT {_TOKEN} FROM access_tokens ORDER BY created_at DESC, id DESC", ())]

    def token(self, token_id: str) -> AccessToken | None:
        """The token with this id."""
        with self._database.reading() as execute:
            found = execute(f"SELECT {_TOKEN} FROM access_tokens WHERE id = ?", (token_id,))
        return _token(found[0]) if found else None

    def revoke(self, name: str, at: datetime) -> AccessToken:
        """Take a token back."""
        with self._database.writing() as execute:
            found = execute(
                f"SELECT {_TOKEN} FROM access_tokens WHERE (id = ? OR name = ?) AND revoked_at IS NULL ORDER BY created_at DESC",
                (name, name),
            )
            if not found:
                raise NotFound("token", name, hint="`lineage tokens list` shows them; a revoked one stays revoked")
            execute("UPDATE access_tokens SET revoked_at = ? WHERE id = ?", (instant(at), found[0][0]))
        return _token((*found[0][:6], instant(at)))

    def note(self, entry: AuditEntry) -> int:
        """Add a line to the audit log."""
        with self._database.writing() as execute:
            number: int = execute("SELECT COALESCE(MAX(number), 0) + 1 FROM audit", ())[0][0]
            execute(
                "INSERT INTO audit (number, who, what, outcome, at, last_at, count) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (number, entry.who, entry.what, entry.outcome, instant(entry.at), instant(entry.last_at), entry.count),
            )
        return number

    def repeat(self, number: int, last_at: datetime, count: int) -> None:
        """Count a line's repetitions."""
        with self._database.writing() as execute:
            execute("UPDATE audit SET last_at = ?, count = ? WHERE number = ?", (instant(last_at), count, number))

    def audit(self, limit: int) -> list[AuditEntry]:
        """The newest lines, newest first."""
        with self._database.reading() as execute:
            found = execute("SELECT who, what, outcome, at, last_at, count FROM audit ORDER BY number DESC LIMIT ?", (limit,))
        return [AuditEntry(who, what, outcome, _time(at), _time(last), count) for who, what, outcome, at, last, count in found]

    def check(self) -> None:
        """Whether the store answers, with the schema of this release."""
        with self._database.reading() as execute:
            found = execute("SELECT MAX(version) FROM schema_version", ())[0][0]
        if found != len(MIGRATIONS):
            raise Unavailable(
                f"the store {self._database.location} has schema version {found}, this release knows {len(MIGRATIONS)}",
                hint="start the service again with the release that brought the store up to date",
            )

    def close(self) -> None:
        """Close every connection."""
        self._database.close()


def _token(row: Sequence[Any]) -> AccessToken:
    token_id, name, scopes, digest, created_at, expires_at, revoked_at = row
    times = (None if text is None else _time(text) for text in (expires_at, revoked_at))
    return AccessToken(token_id, name, frozenset(map(Scope, scopes.split())), digest, _time(created_at), *times)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _maybe(at: datetime | None) -> str | None:
    return None if at is None else instant(at)
