"""Access tokens of the service, and the log of what was done with them: pure values."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

_FORM = re.compile(r"lin_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
_LIKE_ONE = re.compile(r"lin_[0-9a-f]{12}_[A-Za-z0-9_%-]*")


class Scope(StrEnum):
    """What a token allows. Whoever may record or execute may read as well: neither can be done without."""

    read = "read"
    record = "record"
    execute = "execute"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What is kept of a token: never the token itself.

    Attributes:
        id: 12 hexadecimal digits, part of the token's text, by which it is found.
        name: Whose it is or what it is for.
        scopes: What it allows.
        digest: SHA-256 of the whole text, hexadecimal. No slow hash is needed: the text has 256 random bits, so there is nothing to guess
            from a digest, and a slow one would make each request slow instead.
        expires_at: ``None`` for one that does not.
        revoked_at: When it was taken back; ``None`` while it was not.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    digest: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it opens anything at this time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def allows(self, scope: Scope) -> bool:
        """Whether it covers a scope."""
        return scope in self.scopes or (scope is Scope.read and bool(self.scopes))

    def matches(self, text: str) -> bool:
        """Whether this is the token with that text; takes equally long wherever two texts differ."""
        return hmac.compare_digest(self.digest, hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What somebody did, or was not let do. Repetitions within a short time are one entry.

    Attributes:
        who: ``token <id> (<name>)``, or the address of somebody without one.
        what: Method and route, with the names of things in it.
        outcome: HTTP status.
        at: The first time.
        last_at: The last time.
        count: How often.
    """

    who: str
    what: str
    outcome: int
    at: datetime
    last_at: datetime
    count: int = 1


def new_token(name: str, scopes: frozenset[Scope], now: datetime, expires_at: datetime | None) -> tuple[str, AccessToken]:
    """A new token: (its text, which is shown once and kept nowhere; what is kept of it)."""
    token_id = secrets.token_hex(6)
    text = f"lin_{token_id}_{secrets.token_urlsafe(32)}"
    return text, AccessToken(token_id, name, scopes, hashlib.sha256(text.encode()).hexdigest(), now, expires_at)


def token_id_of(text: str) -> str | None:
    """The id within a token's text; ``None`` for a text that is no token."""
    found = _FORM.fullmatch(text)
    return found.group(1) if found else None


def without_tokens(text: str) -> str:
    """A text in which everything that looks like a token is blotted out."""
    return _LIKE_ONE.sub("lin_***", text) if "lin_" in text else text
