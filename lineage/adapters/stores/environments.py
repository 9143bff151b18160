"""Environments, each kept once: hundreds of runs share one, and it takes 26 KB where the rest of a record takes 2.5 KB (measured)."""

from __future__ import annotations

from lineage.adapters.stores.database import Execute
from lineage.errors import IntegrityError
from lineage.model.digest import canonical_json, digest_of_bytes
from lineage.model.environment import Environment

_KEPT = 256
_ROWS_AT_ONCE = 300  # older builds of SQLite allow 999 parameters in a statement


class Environments:
    """Environments by digest; parsed ones are kept in memory, they never change."""

    def __init__(self) -> None:
        self._parsed: dict[str, Environment] = {}
        self._digests: dict[int, str] = {}

    def keep(self, execute: Execute, environment: Environment) -> str:
        """Keep an environment that is not kept yet; its digest."""
        known = self._digests.get(id(environment))
        if known is not None and self._parsed.get(known) is environment:  # it was read from here
            return known
        payload = canonical_json(environment.model_dump(mode="json"))
        digest = digest_of_bytes(payload)
        if not execute("SELECT 1 FROM environments WHERE digest = ?", (digest,)):
            execute("INSERT INTO environments (digest, payload) VALUES (?, ?)", (digest, payload.decode()))
            self.write_packages(execute, digest, environment)
        return digest

    @staticmethod
    def write_packages(execute: Execute, digest: str, environment: Environment) -> None:
        """Note which packages an environment holds, so that runs are found by them."""
        rows = [(digest, name, item.version) for name, item in sorted(environment.packages.items())]
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[first : first + _ROWS_AT_ONCE]
            execute(
                f"INSERT INTO environment_packages (environment, name, version) VALUES {', '.join(['(?, ?, ?)'] * len(part))}"
                " ON CONFLICT DO NOTHING",
                [value for row in part for value in row],
            )

    def get(self, execute: Execute, digest: str, owner: str) -> Environment:
        """An environment, from memory when it was read before.

        Raises:
            IntegrityError: As :meth:`read`.
        """
        found = self._parsed.get(digest)
        if found is None:
            found = self.read(execute, digest, owner)
            if len(self._parsed) >= _KEPT:
                self._parsed.clear()
                self._digests.clear()
            self._parsed[digest] = found
            self._digests[id(found)] = digest
        return found

    def read(self, execute: Execute, digest: str, owner: str) -> Environment:
        """An environment as the database has it now.

        Args:
            execute: Reads.
            digest: Its digest.
            owner: What needs it, for errors, with a blank behind it; may be empty.

        Raises:
            IntegrityError: It is not there, or no longer what its digest says.
        """
        return Environment.model_validate_json(self.text(execute, digest, owner))

    @staticmethod
    def text(execute: Execute, digest: str, owner: str) -> str:
        """An environment's text; arguments and errors as :meth:`read`."""
        rows = execute("SELECT payload FROM environments WHERE digest = ?", (digest,))
        found = digest_of_bytes(rows[0][0].encode()) if rows else "none"
        if found != digest:
            raise IntegrityError(
                f"{owner}environment",
                expected=digest,
                found=found,
                hint="the store's table of environments was altered after it was written",
            )
        text: str = rows[0][0]
        return text

    @staticmethod
    def adopt(execute: Execute, digest: str, text: str) -> None:
        """Keep the text of an environment that was recorded elsewhere.

        Raises:
            IntegrityError: It is not what its digest says.
        """
        found = digest_of_bytes(text.encode())
        if found != digest:
            raise IntegrityError("environment", expected=digest, found=found)
        if not execute("SELECT 1 FROM environments WHERE digest = ?", (digest,)):
            try:
                environment = Environment.model_validate_json(text)
            except ValueError as error:
                expected, hint = "one that this release can read", "was it recorded by a newer release?"
                raise IntegrityError("environment", expected=expected, found=str(error).splitlines()[0], hint=hint) from error
            execute("INSERT INTO environments (digest, payload) VALUES (?, ?)", (digest, text))
            Environments.write_packages(execute, digest, environment)
