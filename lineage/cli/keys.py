"""``lineage sign`` and ``keys``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lineage.cli.look import RunName
from lineage.cli.output import AsJson, print_json, say, table
from lineage.errors import IntegrityError, UsageError
from lineage.lookup.runs import get_run
from lineage.ports.keys import PASSPHRASE_VARIABLE
from lineage.record.signing import sign_run
from lineage.wiring import keyring, wire

DEFAULT = "default"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("sign")(sign)
    keys = typer.Typer(help="Keys that sign records, and those of others that are trusted.", no_args_is_help=True)
    keys.command("new")(new)
    keys.command("list")(list_keys)
    keys.command("trust")(trust)
    keys.command("forget")(forget)
    keys.command("export")(export)
    app.add_typer(keys, name="keys")


def sign(
    run: RunName,
    key: Annotated[str, typer.Option("--key", metavar="NAME", help="A key of this account.")] = DEFAULT,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Also write the envelope, for other tools.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sign a record as it is now: everything it says, and the digests of what the run made.

    The signature is an in-toto statement with SLSA provenance in a DSSE envelope. Runs are signed by themselves when they end, where
    there is a key called 'default' (LINEAGE_SIGN names another, or says 'off').
    """
    ports = wire()
    found = get_run(ports.runs, ports.liveness, run)
    if output is not None and (output.exists() or not output.absolute().parent.is_dir()):
        raise UsageError(
            f"--output {output}: expected a new file in a folder that exists", hint="it is looked at before anything is signed"
        )
    _ask_passphrase(key)
    made = sign_run(ports, found.id, key)
    if output is not None:
        output.write_bytes(ports.objects.get_bytes(ports.runs.get(found.id).signatures[-1].envelope))
    if as_json:
        print_json({"run_id": found.id} | made.model_dump(mode="json"))
        return
    say("done", made.words)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it; 'default' signs every run when it ends.")] = DEFAULT,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Encrypt the private half: with LINEAGE_KEY_PASSPHRASE, else with what is typed in.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make an Ed25519 key of this account's. The private half stays in the user's configuration folder, readable by nobody else.

    A run signs itself with an encrypted key where LINEAGE_KEY_PASSPHRASE has the passphrase; else its record notes that it is not signed.
    """
    made = keyring().new(name, _new_passphrase() if passphrase or os.environ.get(PASSPHRASE_VARIABLE) else None)
    if as_json:
        print_json({"name": made.name, "key": made.id, "file": str(made.file), "is_encrypted": made.is_encrypted})
        return
    say("done", f"key '{made.name}' in {made.file}; `lineage keys export {made.name}` prints what others need to trust it")
    typer.echo(made.id)


def list_keys(as_json: AsJson = False) -> None:
    """List keys: this account's own, and those it trusts."""
    found = keyring().all()
    if as_json:
        print_json(
            [
                {
                    "name": key.name,
                    "key": key.id,
                    "is_own": key.is_own,
                    "is_encrypted": key.is_encrypted,
                    "file": str(key.file),
                    "problem": key.problem,
                }
                for key in found
            ]
        )
    elif found:
        table(
            ["name", "key", "", ""],
            [[key.name, key.id or "", _kind(is_own=key.is_own, is_encrypted=key.is_encrypted), key.problem or ""] for key in found],
        )
    else:
        say("done", "no key yet; `lineage keys new` makes one")
    if any(key.problem for key in found):
        raise typer.Exit(IntegrityError.exit_code)


def trust(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A public key, as lineage keys export writes it.")],
    name: Annotated[str | None, typer.Option("--name", help="What to call it; else the file's name without its suffix.")] = None,
    as_json: AsJson = False,
) -> None:
    """Trust somebody's key: what it signed may be executed by lineage reproduce without asking.

    Compare the key with its owner by another way first. To trust it no more: lineage keys forget.
    """
    made = keyring().trust(file, name or file.stem)
    if as_json:
        print_json({"name": made.name, "key": made.id, "file": str(made.file)})
        return
    say("done", f"'{made.name}' is trusted ({made.file})")
    typer.echo(made.id)


def forget(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the trusted key is called here, or its id or the beginning of that.")],
    as_json: AsJson = False,
) -> None:
    """Trust somebody's key no more: what it signed is executed only when somebody else trusted signed it, or with --yes."""
    gone = keyring().forget(name)
    if as_json:
        print_json([{"name": key.name, "key": key.id} for key in gone])
        return
    for key in gone:
        say("done", f"'{key.name}' is trusted no more; records that it signed stay signed by an unknown key")
        typer.echo(key.id)


def _kind(*, is_own: bool, is_encrypted: bool) -> str:
    return ("own, encrypted" if is_encrypted else "own") if is_own else "trusted"


def _new_passphrase() -> str:
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given:
        return given
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked for a passphrase: this is no terminal", hint=f"set {PASSPHRASE_VARIABLE}")
    asked: str = typer.prompt("passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return asked


def _ask_passphrase(name: str) -> None:
    # As a variable of this process: its value is kept out of everything that is written.
    if keyring().is_encrypted(name) and not os.environ.get(PASSPHRASE_VARIABLE) and sys.stdin.isatty():
        os.environ[PASSPHRASE_VARIABLE] = typer.prompt(f"passphrase of the key '{name}'", hide_input=True, err=True)


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A key of this account, or one that it trusts.")] = DEFAULT,
) -> None:
    """Print the public half of a key (PEM): what others give to lineage keys trust."""
    typer.echo(keyring().export(name).decode(), nl=False)
