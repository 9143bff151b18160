"""Puts together what measures usage; apart from the rest, so that nothing of it is imported where a run begins."""

from __future__ import annotations

from lineage.ports.usage import Usage, UsageMeter


def usage(every_s: float) -> Usage:
    """Sampling at this interval; 0 for none."""
    return Usage(every_s, _meter)


def _meter(root: int, counts_root: bool) -> UsageMeter:
    from lineage.adapters.machine.usage import MachineUsage

    return MachineUsage(root, counts_root)
