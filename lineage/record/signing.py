"""Signing a record when its run is over, and looking at the signatures that it has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from lineage.errors import Conflict, IntegrityError, LineageError
from lineage.model.digest import canonical_json
from lineage.model.event import Event, Signed, replay
from lineage.model.run import Run, RunState, Signature
from lineage.model.signing import SignatureCheck, SignedBy, key_id, make_envelope, read_envelope, read_statement, signed_bytes, statement_of
from lineage.ports import Ports
from lineage.record.sinks import describe_error


def sign_run(ports: Ports, run_id: str, key: str) -> SignatureCheck:
    """Sign a record as far as it has got, with a key of this account.

    Raises:
        Conflict: The run is not over yet.
        IntegrityError: The record was altered.
        NotFound: There is no such key.
        MissingExtra: The package for signatures is not installed.
    """
    run = ports.runs.append(run_id, Signed(at=datetime.now(UTC), signature=_signature(ports, run_id, key)))
    return check_signatures(ports, run)[-1]


def _signature(ports: Ports, run_id: str, key: str) -> Signature:
    from importlib.metadata import version

    events = ports.runs.events(run_id)
    run = replay(events, run_id, ports.runs.environment)
    if run.state is RunState.running:
        raise Conflict(f"run {run_id[:12]} is still running", hint="a record is signed when its run is over")
    head = events[-1][1]
    payload = canonical_json(statement_of(run, head, version("dataset-lineage")))
    made = ports.keys.sign(signed_bytes(payload), key)
    envelope = ports.objects.put_bytes(make_envelope(payload, made))
    return Signature(envelope=envelope, public_key=made.public_key.hex(), covers=head)


def sign_at_end(ports: Ports, run: Run, append: Callable[[Event], Run], note: Callable[[str], None]) -> None:
    """Sign a run that is over, where this account has a key for it. What fails is noted and never harms the run.

    Args:
        ports: The outside world.
        run: Its record; one that goes on in another process is left to that.
        append: Adds an event to the record.
        note: Adds a sentence to it.
    """
    key = ports.keys.automatic()
    if key is None or run.state is RunState.running:
        return
    try:
        append(Signed(at=datetime.now(UTC), signature=_signature(ports, run.id, key)))
    except (LineageError, OSError) as error:
        note(f"not signed: {describe_error(error)}")


def check_signatures(ports: Ports, run: Run) -> list[SignatureCheck]:
    """Every signature of a record, in order, looked at without a network."""
    if not run.signatures:
        return []
    events = ports.runs.events(run.id)
    return [_check(ports, run, item, events) for item in run.signatures]


def _check(ports: Ports, run: Run, item: Signature, events: list[tuple[str, str]]) -> SignatureCheck:
    key = bytes.fromhex(item.public_key)
    known = SignatureCheck(status="valid", key=key_id(key), signer=ports.keys.name_of(key))
    try:
        payload, signature = read_envelope(ports.objects.get_bytes(item.envelope), known.key)
        if not ports.keys.is_valid(signed_bytes(payload), SignedBy(key, signature)):
            raise IntegrityError("signature", expected="one of the key's over the statement", found="another")
        head, made = read_statement(payload)
        covers = next((number for number, (_, digest) in enumerate(events, 1) if digest == head), None)
        if covers is None:
            raise IntegrityError(
                f"record {run.id[:12]}",
                expected=f"the signed event {head[:19]}…",
                found="none such: it was written anew after it was signed",
            )
        _compare(run, events[:covers], made, ports)
    except IntegrityError as error:
        return known.model_copy(update={"status": "wrong", "reason": error.message})
    except LineageError as error:
        return known.model_copy(update={"status": "unchecked", "reason": error.message})
    later = sum('"kind":"signed"' not in payload for payload, _ in events[covers:])
    return known.model_copy(update={"covers": covers, "later": later})


def _compare(run: Run, events: list[tuple[str, str]], made: dict[str, str], ports: Ports) -> None:
    told = replay(events, run.id, ports.runs.environment)
    recorded = {output.name: output.digest for output in told.outputs}
    for name in sorted(recorded.keys() | made.keys()):
        if recorded.get(name) != made.get(name):
            raise IntegrityError(f"output '{name}'", expected=f"{made.get(name, 'none')}, as signed", found=recorded.get(name, "none"))
