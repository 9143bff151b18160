"""Handing over what a spool holds: objects first, then events and points in their order. Several processes may try; one does."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lineage.adapters.stores.continuing import ContinuingRunStore
from lineage.adapters.stores.copying import ObjectSender, copy_record
from lineage.adapters.stores.http import HttpRunStore
from lineage.adapters.stores.http_client import HttpClient
from lineage.adapters.stores.http_objects import HttpObjects
from lineage.errors import Conflict, LineageError, Unavailable
from lineage.model.run import Run, RunState
from lineage.ports import Liveness, ObjectStore, Position, RunQuery


@dataclass(frozen=True, slots=True)
class Handed:
    """What became of one run.

    Attributes:
        run_id: Of the record.
        name: Of the run, for people.
        outcome: ``sent``; ``growing``: sent as far as it has got; ``failed``: the service is away or refuses; ``conflict``: the service
            holds another record under its id, it stays here.
        detail: Why, in one line.
    """

    run_id: str
    name: str
    outcome: str
    detail: str = ""


class SpoolDelivery:
    """Hands over.

    Args:
        local: The spool.
        objects: Objects on this machine.
        client: Of the service.
        lock: A file that keeps two processes from handing over at once.
        liveness: Of runs in the spool.
        settle: Notes the end of a run whose process is gone without a word.
    """

    def __init__(
        self,
        local: ContinuingRunStore,
        objects: ObjectStore,
        client: HttpClient,
        lock: Path,
        liveness: Liveness,
        settle: Callable[[Run], Run],
    ) -> None:
        self._local, self._client, self._lock, self._liveness = local, client, lock, liveness
        self._settle = settle
        self._remote = HttpRunStore(client)
        self._objects = ObjectSender(objects, HttpObjects(client))
        self._handed: dict[str, Position] = {}

    def everything(self, keep: frozenset[str], progress: Callable[[str, int, int], None] | None = None) -> list[Handed]:
        """Hand over every run of the spool, oldest first; stops when the service is away.

        Args:
            keep: Runs that stay in the spool, though they are handed over whole: their process may have more to say.
            progress: Told of runs done.
        """
        done: list[Handed] = []
        with self._alone() as is_alone:
            runs = list(reversed(self._local.find(RunQuery()))) if is_alone else []
            for number, run in enumerate(runs, 1):
                try:
                    with self._client.impatient():
                        done.append(self._one(run, keep))
                except Conflict as error:
                    done.append(Handed(run.id, run.name, "conflict", error.message))
                except Unavailable as error:
                    done += [Handed(item.id, item.name, "failed", error.message) for item in runs[number - 1 :]]
                    break
                except LineageError as error:
                    done.append(Handed(run.id, run.name, "failed", error.message))
                if progress is not None:
                    progress("handing over runs", number, len(runs))
        return done

    def send_objects(self, text: str) -> None:
        """Bring objects of this machine that a text names, for what goes to the service without having been in the spool.

        Raises:
            Unavailable: The service is away, or refuses.
        """
        self._objects.send(text)

    def _one(self, run: Run, keep: frozenset[str]) -> Handed:
        run = self._settle(run)
        place = self._local.position(run.id)
        if self._handed.get(run.id) != place:
            events = self._local.events(run.id)[: place.events]
            self._objects.send("".join(payload for payload, _ in events))
            copy_record(self._local, self._remote, run.id, events)
            self._handed[run.id] = place
        is_over = run.state is not RunState.running and self._liveness.is_alive(run) is not True
        if is_over and run.id not in keep and self._is_there(run.id, place) and self._local.forget(run.id, place):
            return Handed(run.id, run.name, "sent")
        return Handed(run.id, run.name, "sent" if run.state is not RunState.running else "growing")

    def _is_there(self, run_id: str, place: Position) -> bool:
        return self._remote.position(run_id) == place

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
