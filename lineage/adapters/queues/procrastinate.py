"""Procrastinate on the PostgreSQL of the records: wakes a worker as soon as there is something to do.

Its row and ours are written in one transaction. Ours is the truth: what it delivers is only the word to look there, so that a word that
is lost, or told twice, changes nothing. Its tables are in a PostgreSQL schema of their own, named after its release: a newer one makes
its own, and no migration of its tables is ever needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

import procrastinate
import psycopg
from procrastinate.exceptions import ProcrastinateException

from lineage.errors import Unavailable

_SCHEMA = "lineage_procrastinate_3_10"
_LOCK = 0x70726F63  # two processes that start together must not both make the tables
_QUEUE = "materialisations"
_TASK = "lineage.materialisation"
_LOOK_S = 0.1

logging.getLogger("procrastinate").setLevel(logging.ERROR)  # every stop of a worker is a line of its log otherwise


class _Database(Protocol):
    def connection(self) -> psycopg.Connection[tuple[Any, ...]]: ...


class ProcrastinateBell:
    """See :class:`lineage.adapters.queues.sql.Bell`.

    Args:
        database: Of the records; its connection of this thread is used inside its transactions.
        url: ``postgresql://…`` of the same database.
        location: The same without credentials.

    Raises:
        Unavailable: Its tables cannot be made.
    """

    def __init__(self, database: _Database, url: str, location: str) -> None:
        self._database, self._url, self._location = database, url, location
        self._sync = procrastinate.App(connector=procrastinate.SyncPsycopgConnector())
        try:
            self._install()
        except psycopg.Error as error:
            raise Unavailable(
                f"the queue in {location} cannot be made: {str(error).splitlines()[0]}", hint="may this user make schemas?"
            ) from error

    def _install(self) -> None:
        connection = self._database.connection()
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            if connection.execute("SELECT to_regclass(%s)", (f"{_SCHEMA}.procrastinate_jobs",)).fetchone() == (None,):
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
                connection.execute(f"SET LOCAL search_path TO {_SCHEMA}")
                connection.execute(self._sync.schema_manager.get_schema())

    def ring(self, job_id: str) -> None:
        """Leave word, inside the transaction that this thread has open."""
        connection = self._database.connection()
        before = connection.execute("SELECT current_setting('search_path')").fetchone()
        connection.execute("SELECT set_config('search_path', %s, true)", (_SCHEMA,))
        try:
            self._sync.configure_task(_TASK, queue=_QUEUE, connection=connection).defer(job=job_id)
        except ProcrastinateException as error:
            raise Unavailable(
                f"the queue in {self._location} cannot be used: {error}", hint="check LINEAGE_STORE and the server"
            ) from error
        connection.execute("SELECT set_config('search_path', %s, true)", before)

    def wait(self, seconds: float, should_stop: Callable[[], bool]) -> None:
        """Until it rings."""
        try:
            asyncio.run(self._wait(seconds, should_stop))
        except (ProcrastinateException, psycopg.Error) as error:
            told = (str(error) or type(error).__name__).splitlines()[0]
            raise Unavailable(f"the queue in {self._location} cannot be used: {told}", hint="check LINEAGE_STORE and the server") from error

    async def _wait(self, seconds: float, should_stop: Callable[[], bool]) -> None:
        rung = asyncio.Event()
        options = f"-c search_path={_SCHEMA}"
        connector = procrastinate.PsycopgConnector(conninfo=self._url, kwargs={"options": options}, min_size=1, max_size=3, timeout=10.0)
        app = procrastinate.App(connector=connector)

        @app.task(name=_TASK, queue=_QUEUE)
        async def hear(job: str) -> None:
            rung.set()

        async with app.open_async():
            # Only while this process has nothing to do: word must not reach one that is busy.
            listening = asyncio.create_task(
                app.run_worker_async(queues=[_QUEUE], concurrency=1, install_signal_handlers=False, delete_jobs="always")
            )
            try:
                deadline = asyncio.get_running_loop().time() + seconds
                while not (rung.is_set() or should_stop() or listening.done()) and asyncio.get_running_loop().time() < deadline:
                    await asyncio.wait({asyncio.create_task(rung.wait()), listening}, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                listening.cancel()
                outcome = (await asyncio.gather(listening, return_exceptions=True))[0]
            if isinstance(outcome, Exception):
                raise outcome

    def close(self) -> None:
        """Nothing stays open."""
