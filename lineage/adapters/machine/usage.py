"""What the machine and a run's processes use, by psutil; of NVIDIA's GPUs by their own library, where it is installed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil

from lineage.adapters.machine.gpus import Gpus

_MIB = 1 << 20
_LOOPBACK = "lo"


class MachineUsage:
    """Measures from now on.

    In a container these are the figures of the whole machine, but for the processes. Memory that processes share counts for each of them.

    Args:
        root: A process; those that it started, and that these started, belong to it.
        counts_root: Whether it counts itself.
    """

    def __init__(self, root: int, counts_root: bool) -> None:
        self._root = psutil.Process(root)
        self._counts_root = counts_root
        self._folder = os.getcwd()
        self._gpus = Gpus()
        self._at = time.monotonic()
        self._busy, self._all = _processor_times()
        self._processes = self._process_times()[0]
        self._counters = _counters()

    def sample(self) -> dict[str, float]:
        """See :class:`lineage.ports.usage.UsageMeter`."""
        now = time.monotonic()
        passed = max(now - self._at, 1e-3)
        busy, whole = _processor_times()
        found = {
            "system/cpu": 100 * (busy - self._busy) / max(whole - self._all, 1e-3),
            "system/memory": psutil.virtual_memory().percent,
        }
        processes, memory = self._process_times()
        worked = sum(max(0.0, spent - self._processes.get(known, 0.0)) for known, spent in processes.items())
        if processes:
            found |= {"system/process/cpu": 100 * worked / passed, "system/process/memory_mib": memory / _MIB}
        with suppress(OSError):
            found["system/disk"] = psutil.disk_usage(self._folder).percent
        counters = _counters()
        for name, count in counters.items():
            if name in self._counters:
                found[name] = max(0, count - self._counters[name]) / _MIB / passed
        self._at, self._busy, self._all, self._processes, self._counters = now, busy, whole, processes, counters
        # What the clock of the processors counts in ticks can be a little over the time that passed.
        found["system/cpu"] = min(100.0, max(0.0, found["system/cpu"]))
        return found | self._gpus.sample()

    def _process_times(self) -> tuple[dict[tuple[int, float], float], int]:
        """((process id, when it began) to seconds of its processor time, bytes of memory of all)."""
        spent: dict[tuple[int, float], float] = {}
        memory = 0
        for process in self._family():
            with suppress(psutil.Error, OSError), process.oneshot():  # it may end between two looks, or be somebody else's
                resident = process.memory_info().rss
                if not resident:  # it has ended, and is waited for
                    continue
                times = process.cpu_times()
                spent[process.pid, process.create_time()] = times.user + times.system
                memory += resident
        return spent, memory

    def _family(self) -> Iterator[psutil.Process]:
        if self._counts_root:
            yield self._root
        with suppress(psutil.Error, OSError):
            yield from self._root.children(recursive=True)


def _processor_times() -> tuple[float, float]:
    """(seconds in which a core worked, seconds of all cores)."""
    times = psutil.cpu_times()
    # Linux counts the time of guests as time of the user, too.
    whole = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return whole - times.idle - getattr(times, "iowait", 0.0), whole


def _counters() -> dict[str, int]:
    """Bytes so far, by the name of their rate. psutil's own memory of wrapped counters is the program's, and is not used."""
    found: dict[str, int] = {}
    with suppress(OSError, RuntimeError):  # no disk that is known, or /proc is not there
        disks = psutil.disk_io_counters(nowrap=False)
        if disks is not None:
            found |= {"system/disk/read_mib_s": disks.read_bytes, "system/disk/write_mib_s": disks.write_bytes}
    with suppress(OSError):
        cards = [card for name, card in psutil.net_io_counters(pernic=True, nowrap=False).items() if name != _LOOPBACK]
        found["system/network/received_mib_s"] = sum(card.bytes_recv for card in cards)
        found["system/network/sent_mib_s"] = sum(card.bytes_sent for card in cards)
    return found
