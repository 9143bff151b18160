"""Whether a record's command may be executed: a record is untrusted input unless this store saw it grow, or somebody known signed it."""

from __future__ import annotations

from lineage.errors import UsageError
from lineage.model.plan import Ingredient
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.signing import check_signatures

_HINT = "read the command, then say --yes; or trust its signer's key (`lineage keys trust FILE`)"


def check_trust(ports: Ports, run: Run, *, is_vouched: bool = False) -> list[Ingredient]:
    """One ingredient for a record that came from elsewhere; none for one of this store.

    Args:
        ports: The outside world.
        run: The run.
        is_vouched: The caller has read the command and answers for it.
    """
    origin = ports.runs.origin(run.id)
    if origin is None:
        return []
    checks = check_signatures(ports, run)
    recorded = f"a record from {origin.partition(' (')[0]}"
    wrong = [check for check in checks if check.status == "wrong"]
    trusted = [check for check in checks if check.status == "valid" and check.signer is not None]
    if trusted and not wrong:
        best = min(trusted, key=lambda check: check.later)
        severity = "note" if best.later else "none"
        detail = (f"{best.later} events were added after it was signed and are not covered",) if best.later else ()
        return [Ingredient(name="trust", status="ready", severity=severity, recorded=recorded, found=best.words, detail=detail)]
    found = "unsigned" if not checks else "; ".join(check.words for check in wrong or checks)
    if is_vouched and not wrong:
        detail = ("whoever said --yes answers for its command",)
        return [Ingredient(name="trust", status="different", severity="note", recorded=recorded, found=found, detail=detail)]
    why = f"{found}: nobody whom this account trusts answers for what it executes" if not wrong else f"{found}: it is not what was signed"
    return [
        Ingredient(
            name="trust",
            status="changed" if wrong else "different",
            severity="blocker",
            recorded=recorded,
            found=found,
            detail=(why, *(() if wrong else (_HINT,))),
        )
    ]


def require_trust(ports: Ports, run: Run, *, is_vouched: bool = False) -> None:
    """Go on only when the code of a record may be executed.

    Raises:
        UsageError: It may not.
    """
    for item in check_trust(ports, run, is_vouched=is_vouched):
        if item.severity == "blocker":
            raise UsageError(f"run {run.id[:12]} is {item.recorded}, {item.detail[0]}", hint=_HINT)
