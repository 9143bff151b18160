"""What the service keeps beside records: who may ask, and who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from lineage.model.access import AccessToken, AuditEntry


class AccessStore(Protocol):
    """Tokens and the audit log, in the same database as the records."""

    def add_token(self, token: AccessToken) -> None:
        """Keep a new token.

        Raises:
            Conflict: Another valid token has this name.
        """

    def tokens(self) -> list[AccessToken]:
        """Every token that ever was, newest first."""

    def token(self, token_id: str) -> AccessToken | None:
        """The token with this id."""

    def revoke(self, name: str, at: datetime) -> AccessToken:
        """Take a token back, by id or name.

        Raises:
            NotFound: No token that is not revoked yet has this id or name.
        """

    def note(self, entry: AuditEntry) -> int:
        """Add a line to the audit log; its number."""

    def repeat(self, number: int, last_at: datetime, count: int) -> None:
        """Say that what a line tells of happened again: the last time, and how often in all."""

    def audit(self, limit: int) -> list[AuditEntry]:
        """The newest lines of the audit log, newest first."""

    def check(self) -> None:
        """Find out whether the store can be used.

        Raises:
            Unavailable: It cannot be reached, or its schema is not the one that this release knows.
        """

    def close(self) -> None:
        """Release what is held open."""
