"""Mosaic Streaming's loader, in an environment of its own; see ``loading.py`` for what it is asked.

    python streaming_loader.py FOLDER --workers N [--make PICTURES]

``--make`` writes the pictures of a folder, byte for byte, into FOLDER as MDS shards; else FOLDER is served. Pictures are decoded as
everywhere here; Streaming's own ``jpeg`` columns decode with Pillow, which takes longer.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import streaming
import torch.utils.data
from loading import BATCH_SIZE, decoded, loader_options, parser, serve, tell


class Pictures(streaming.StreamingDataset):  # type: ignore[misc]
    """Shards with a column of encoded pictures."""

    def __getitem__(self, position: Any) -> Any:
        return decoded(super().__getitem__(position)["picture"])


def make(folder: Path, pictures: Path) -> None:
    """Write the shards."""
    with streaming.MDSWriter(out=str(folder), columns={"picture": "bytes"}) as writer:
        for file in sorted(pictures.iterdir()):
            writer.write({"picture": file.read_bytes()})


def main() -> None:
    """Make or serve."""
    logging.disable(logging.WARNING)
    arguments = parser("Mosaic Streaming.")
    arguments.add_argument("--make", type=Path)
    chosen = arguments.parse_args()
    if chosen.make:
        make(chosen.folder, chosen.make)
        tell({"version": f"mosaicml-streaming {streaming.__version__}"})
        return
    streaming.base.util.clean_stale_shared_memory()
    pictures = Pictures(local=str(chosen.folder), shuffle=True, batch_size=BATCH_SIZE)
    serve(torch.utils.data.DataLoader(pictures, **loader_options(chosen)))


if __name__ == "__main__":
    main()
