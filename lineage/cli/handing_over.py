"""What ``lineage sync`` does for a store that is a service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lineage.cli.output import progress_bars, say
from lineage.errors import Conflict, Unavailable
from lineage.ports import Ports
from lineage.wiring import spool_of

if TYPE_CHECKING:
    from lineage.adapters.stores.spool_delivery import Handed


def hand_over_spool(ports: Ports) -> list[Handed]:
    """Hand over what waits on this machine for the service; nothing where the store is none.

    Raises:
        Unavailable: The service is away, or refuses; what waits stays.
        Conflict: The service holds another record under the id of one of them; the others were handed over.
    """
    spool = spool_of(ports)
    if spool is None:
        return []
    with progress_bars() as progress:
        done = spool.hand_over(progress)
    for item in done:
        kind = {"failed": "error", "conflict": "error"}.get(item.outcome, "done")
        say(kind, f"{item.run_id[:12]} {item.name}: {item.outcome}" + (f": {item.detail}" if item.detail else ""))
    failed = [item for item in done if item.outcome == "failed"]
    if failed:
        raise Unavailable(
            f"{len(failed)} of {len(done)} runs could not be handed over to {ports.runs.location}",
            hint="nothing is lost: give the same command again when it answers",
        )
    if forked := [item.run_id[:12] for item in done if item.outcome == "conflict"]:
        raise Conflict(f"the service has other records under the ids {', '.join(forked)}", hint="`lineage store copy` brings one elsewhere")
    return done
