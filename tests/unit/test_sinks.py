"""A tracker that is slow, hangs or fails: the training does not wait for it, and the record says what it missed."""

from __future__ import annotations

import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from lineage.model.event import Event, TrackerTold
from lineage.ports.telling import heard_from, is_telling
from lineage.record import sinks
from lineage.record.sinks import Sinks


class Listener:
    """A tracker that keeps what it is told, and stops listening while its gate is closed."""

    name = "listener"
    patience_s = 0.3

    def __init__(self, *, is_shared: bool = False, refuses: str = "") -> None:
        self.is_shared = is_shared
        self.refuses = refuses
        self.gate = threading.Event()
        self.gate.set()
        self.heard: list[tuple[str, tuple[Any, ...], str, bool]] = []

    def _hear(self, method: str, *arguments: Any) -> None:
        self.gate.wait(30)
        if method == self.refuses:
            raise OSError("token=hunter22 is not known")
        self.heard.append((method, arguments, threading.current_thread().name, is_telling()))

    def started(self, run: Any) -> dict[str, Any]:
        return {}

    def input_used(self, run: Any, item: Any) -> None:
        self._hear("input_used", item)

    def logged(self, values: Any, step: int) -> None:
        self._hear("logged", values, step)

    def metric_defined(self, name: str, step_metric: str | None, summary: str | None = None) -> None:
        self._hear("metric_defined", name)

    def pictures_logged(self, name: str, pictures: Any, classes: Any) -> None:
        self._hear("pictures_logged", name)

    def artifact_made(self, run: Any, item: Any, path: Path | None) -> None:
        self._hear("artifact_made", item)

    def ended(self, run: Any) -> dict[str, Any]:
        self._hear("ended")
        return {"delivered_at": "now"}


class Ended:
    """What a tracker is given of a run that is over."""

    id = "0" * 32


def told(listener: Listener) -> tuple[Sinks, list[str], list[Event]]:
    notes: list[str] = []
    events: list[Event] = []
    return Sinks([listener], notes.append, events.append), notes, events


def steps(listener: Listener) -> list[int]:
    return [arguments[1] for method, arguments, *_ in listener.heard if method == "logged"]


def test_nothing_waits_for_a_tracker_that_hangs() -> None:
    """Telling takes microseconds while the tracker does not answer; the end waits as long as its patience, and says what was left."""
    listener = Listener()
    sink, notes, events = told(listener)
    listener.gate.clear()
    began = time.perf_counter()
    for step in range(1000):
        sink.tell("logged", {"loss": 1.0}, step)
    spent = time.perf_counter() - began
    with pytest.warns(UserWarning, match="had not taken everything"):
        sink.tell("ended", Ended())
    took = time.perf_counter() - began
    listener.gate.set()

    assert spent < 0.2
    assert 0.3 <= took < 2
    assert events == []
    assert len(notes) == 1
    assert "messages wait" in notes[0]
    assert "lineage sync" in notes[0]


def test_everything_is_told_in_order_on_a_thread_of_its_own() -> None:
    """Order is kept, the tracker sees that it is we who speak, and what it says at the end enters the record."""
    listener = Listener()
    sink, notes, events = told(listener)
    for step in range(100):
        sink.tell("logged", {"loss": 1.0}, step)
    sink.tell("ended", Ended())

    assert steps(listener) == list(range(100))
    assert listener.heard[-1][0] == "ended"
    assert {thread for *_, thread, _ in listener.heard} == {"lineage-listener"}
    assert all(telling for *_, telling in listener.heard)
    assert not is_telling()
    (event,) = events
    assert isinstance(event, TrackerTold)
    assert (event.tracker, event.facts) == ("listener", {"delivered_at": "now"})
    assert notes == []


def test_a_shared_tracker_is_told_at_once() -> None:
    """Where the script speaks to it as well, metrics are told in the caller's thread, before the call returns."""
    listener = Listener(is_shared=True)
    sink, _, _ = told(listener)
    sink.tell("logged", {"loss": 1.0}, 0)

    assert [(thread, telling) for *_, thread, telling in listener.heard] == [(threading.current_thread().name, True)]
    sink.tell("ended", Ended())


def test_what_a_tracker_said_is_not_told_to_it() -> None:
    """Inside ``heard_from`` a tracker of that name hears nothing; any other one does, and so does this one afterwards."""
    listener = Listener()
    sink, _, _ = told(listener)
    with heard_from("listener"):
        sink.tell("logged", {"loss": 1.0}, 0)
    with heard_from("another"):
        sink.tell("logged", {"loss": 1.0}, 1)
    sink.tell("logged", {"loss": 1.0}, 2)
    with heard_from("listener"):
        sink.tell("ended", Ended())

    assert steps(listener) == [1, 2]
    assert listener.heard[-1][0] == "ended", "the end of a run is told in any case"


def test_a_failure_is_said_once_and_without_secrets() -> None:
    """One warning and one note for all calls that fail; calls of other kinds go on."""
    listener = Listener(refuses="artifact_made")
    sink, notes, _ = told(listener)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for step in range(3):
            sink.tell("artifact_made", None, None, None)
            sink.tell("logged", {"loss": 1.0}, step)
        sink.tell("ended", Ended())

    assert steps(listener) == [0, 1, 2]
    assert notes == ["listener failed and is not complete for this run: OSError: token=<redacted> is not known"]
    assert len(seen) == 1


def test_what_does_not_fit_into_the_queue_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: points beyond the limit are left out, artifacts never, and the record says how many."""
    monkeypatch.setattr(sinks, "MOST_WAITING", 10)
    listener = Listener()
    sink, notes, _ = told(listener)
    listener.gate.clear()
    for step in range(50):
        sink.tell("logged", {"loss": 1.0}, step)
    sink.tell("artifact_made", None, None, None)
    listener.gate.set()
    with pytest.warns(UserWarning, match="could not keep up"):
        sink.tell("ended", Ended())
    kept = len(steps(listener))

    assert 10 <= kept <= 12
    assert "artifact_made" in [method for method, *_ in listener.heard]
    assert notes == [f"listener was not told of {50 - kept} metric points: it could not keep up"]
