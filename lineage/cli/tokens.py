"""``lineage tokens``: who may ask the service, and who did what."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from lineage.cli.output import AsJson, print_json, say, table, when
from lineage.errors import UsageError
from lineage.model.access import AccessToken, Scope, new_token
from lineage.wiring import access_store

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_MOST_DAYS = 36_500


def register(app: typer.Typer) -> None:
    """Add the commands."""
    tokens = typer.Typer(help="Access tokens of the service, and what was done with them.", no_args_is_help=True)
    tokens.command("new")(new)
    tokens.command("list")(list_tokens)
    tokens.command("revoke")(revoke)
    tokens.command("audit")(audit)
    app.add_typer(tokens, name="tokens")


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, or what it is for.")],
    scope: Annotated[
        list[Scope] | None, typer.Option("--scope", help="What it allows; may be repeated. Recording and executing include reading.")
    ] = None,
    expires: Annotated[str, typer.Option("--expires", metavar="TIME", help="12h, 90d, 8w, or 'never'.")] = "90d",
    as_json: AsJson = False,
) -> None:
    """Make a token. It is printed once, and only its digest is kept. Clients take it from LINEAGE_TOKEN."""
    if not re.fullmatch(r"[\w.@ -]{1,80}", name):
        raise UsageError(f"'{name}' is no name for a token", hint="letters, digits, blanks and . _ - @, at most 80")
    now = datetime.now(UTC)
    text, token = new_token(name, frozenset(scope or (Scope.read,)), now, _expiry(expires, now))
    store = access_store()
    try:
        store.add_token(token)
    finally:
        store.close()
    if as_json:
        print_json(_shown(token, now) | {"token": text})
        return
    ends = f"until {when(token.expires_at)} UTC" if token.expires_at else "until it is revoked"
    say("done", f"token '{name}' ({', '.join(sorted(token.scopes))}) {ends}; it is shown only now")
    typer.echo(text)


def list_tokens(as_json: AsJson = False) -> None:
    """List tokens, newest first: id, name, scopes and state; never the tokens themselves."""
    store, now = access_store(), datetime.now(UTC)
    try:
        found = store.tokens()
    finally:
        store.close()
    if as_json:
        print_json([_shown(token, now) for token in found])
    elif found:
        rows = [
            [token.id, token.name, ", ".join(sorted(token.scopes)), when(token.created_at), when(token.expires_at), _state(token, now)]
            for token in found
        ]
        table(["id", "name", "scopes", "made", "expires", ""], rows)
    else:
        say("done", "no token yet; `lineage tokens new` makes one")


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name or id.")],
    as_json: AsJson = False,
) -> None:
    """Take a token back. A service that runs refuses it within five seconds."""
    store, now = access_store(), datetime.now(UTC)
    try:
        gone = store.revoke(name, now)
    finally:
        store.close()
    if as_json:
        print_json(_shown(gone, now))
        return
    say("done", f"token '{gone.name}' ({gone.id}) is revoked")


def audit(
    last: Annotated[int, typer.Option("--last", min=1, max=100_000, help="At most so many lines.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who changed what through the service, and who was refused; newest first. Repetitions within a minute are one line."""
    store = access_store()
    try:
        found = store.audit(last)
    finally:
        store.close()
    if as_json:
        print_json(
            [
                {"at": item.at, "last_at": item.last_at, "count": item.count, "who": item.who, "what": item.what, "status": item.outcome}
                for item in found
            ]
        )
        return
    rows = [[when(item.at), item.who, item.what, str(item.outcome), f"×{item.count}" if item.count > 1 else ""] for item in found]
    table(["when (UTC)", "who", "what", "status", ""], rows)


def _expiry(text: str, now: datetime) -> datetime | None:
    if text == "never":
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,6})([hdw])", text, re.ASCII)
    length = int(found.group(1)) * _UNITS[found.group(2)] if found else timedelta()
    if not timedelta() < length <= timedelta(days=_MOST_DAYS):
        raise UsageError(f"--expires: expected a time such as 12h, 90d or 8w, or 'never', found '{text}'")
    return now + length


def _state(token: AccessToken, now: datetime) -> str:
    return "valid" if token.is_valid(now) else "revoked" if token.revoked_at else "expired"


def _shown(token: AccessToken, now: datetime) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
        "state": _state(token, now),
    }
