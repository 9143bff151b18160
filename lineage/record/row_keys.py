"""Keys of the row index: the first eight bytes of a digest, as a number. A hit is checked against the whole digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Keys = np.ndarray[Any, np.dtype[np.uint64]]


def picture_keys(pictures: np.ndarray[Any, np.dtype[np.uint8]]) -> Keys:
    """Keys of picture digests: uint8, shape (n, 32), to uint64, shape (n,)."""
    import numpy as np

    return np.ascontiguousarray(pictures[:, :8]).view(">u8").reshape(-1).astype(np.uint64)


def picture_key(digest: bytes) -> int:
    """Key of one picture digest, 32 bytes raw."""
    return int.from_bytes(digest[:8], "big")


def digests_of_nothing() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """What rows without a picture have in its place: uint8, shape (32,)."""
    import numpy as np

    return np.frombuffer(hashlib.sha256().digest(), np.uint8)


def sample_keys(sample_ids: Sequence[str]) -> Keys:
    """Keys of sample ids: uint64, shape (n,)."""
    import numpy as np

    sha256 = hashlib.sha256
    digests = b"".join([sha256(sample_id.encode()).digest()[:8] for sample_id in sample_ids])
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def sample_key(sample_id: str) -> int:
    """Key of one sample id."""
    return int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:8], "big")
