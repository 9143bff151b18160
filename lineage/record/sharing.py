"""Large arrays on their way to processes that are being started: one copy in a file without a name, mapped by all of them."""

from __future__ import annotations

import mmap
import multiprocessing.context
import os
import tempfile
import weakref
from multiprocessing.reduction import DupFd
from typing import Any

_WORTHWHILE_BYTES = 1 << 20


class SharedArray:
    """An array as it travels to a process that ``multiprocessing`` starts; read-only there.

    Args:
        array: Of numbers.
    """

    def __init__(self, array: Any) -> None:
        self._shape, self._dtype = array.shape, array.dtype.str
        self._file: Any = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this lives
        weakref.finalize(self, self._file.close)  # else Python warns of a file that nobody closed
        self._file.write(memoryview(array).cast("B") if array.flags.c_contiguous else array.tobytes())
        self._file.flush()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": DupFd(self._file.fileno())}

    def array(self) -> Any:
        """The array, backed by the file."""
        import numpy as np

        handle = self._file.detach()
        try:
            mapped = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(handle)
        return np.frombuffer(mapped, self._dtype).reshape(self._shape)


class Shelf:
    """Arrays that were shared: one file for each, however many processes are started. It keeps the files open until they are."""

    def __init__(self) -> None:
        self._arrays: dict[str, SharedArray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_arrays": {}}

    def share(self, name: str, array: Any) -> Any:
        """The array itself, or a :class:`SharedArray` while a process is being started and the array is large."""
        if multiprocessing.context.get_spawning_popen() is None or array.nbytes < _WORTHWHILE_BYTES:
            return array
        if name not in self._arrays:
            try:
                self._arrays[name] = SharedArray(array)
            except OSError:  # no room for temporary files: each process gets a copy of its own then
                return array
        return self._arrays[name]


def shared(array: Any) -> Any:
    """The inverse of :meth:`Shelf.share`."""
    return array.array() if isinstance(array, SharedArray) else array
