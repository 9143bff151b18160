"""The process that makes batches again: it runs in the recorded code and calls the recorded transform.

``python -m lineage.training.replaying REQUEST.json``, started by :mod:`lineage.reproduce.replay`.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import runpy
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import default_collate, default_convert

from lineage.adapters.frameworks.torch import TorchWatcher
from lineage.errors import LineageError
from lineage.model.steps import LoaderRecord
from lineage.ports import Ports
from lineage.record.opening import open_recorded
from lineage.training.fetching import Failure, PinnedDataset
from lineage.training.replayed_pictures import Values, draw_sample, sheet, values_of
from lineage.wiring import wire


def main(request_file: str) -> None:
    """Make everything that is asked for, and write ``answer.json``."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    folder, ports = Path(request["out"]), wire()
    makers: dict[str, _Makers] = {}
    answers: list[dict[str, Any]] = []
    pictures: list[tuple[Path, str]] = []
    for number, wanted in enumerate(request["wanted"], 1):
        ordinal = str(wanted["ordinal"])
        if ordinal not in makers:
            makers[ordinal] = _Makers(ports, request, ordinal)
        answers.append(makers[ordinal].fitting(wanted).make(wanted, folder, pictures))
        print(f"{wanted['name']}: {len(wanted['positions'])} rows ({number} of {len(request['wanted'])})", flush=True)  # noqa: T201 - told to the command that started this
    if pictures:
        sheet(pictures, folder / "sheet.png")
    notes = [] if pictures else ["the samples hold no picture that could be drawn"]
    (folder / "answer.json").write_text(json.dumps({"made": answers, "notes": notes}), encoding="utf-8")


class _Makers:
    """One for each loader of an input. The step log names the input only; with several loaders the batch's digest tells which it was."""

    def __init__(self, ports: Ports, request: dict[str, Any], ordinal: str) -> None:
        self._makers = [_Maker(ports, request, ordinal, loader) for loader in request["loaders"][ordinal]]

    def fitting(self, wanted: dict[str, Any]) -> _Maker:
        """The one that makes the recorded batch; the newest when none does, or nothing was recorded."""
        if len(self._makers) > 1 and wanted["recorded"] is not None:
            for place, maker in enumerate(self._makers):
                if maker.digest(wanted["epoch"], wanted["whole"]) == wanted["recorded"]:
                    self._makers.insert(0, self._makers.pop(place))  # the next batch is probably its, too
                    break
        return self._makers[0]


class _Maker:
    """Makes samples and batches of one input as one loader did."""

    def __init__(self, ports: Ports, request: dict[str, Any], ordinal: str, loader: dict[str, Any]) -> None:
        self._loader = LoaderRecord.model_validate(loader)
        run = ports.runs.get(request["run"])
        # Rows are compared with their digests as they are read: no need to read all of them first.
        self._view, _ = open_recorded(
            ports.datasets, ports.objects, ports.rows, run.inputs[int(ordinal)], None, level="quick", seed=run.seed
        )
        content = ports.objects.get_bytes(self._loader.code_object or "")
        _provide_main(self._loader.main, Path(request["root"]))
        transform, collate = pickle.loads(content)  # from the store that this run is recorded in; it names functions of the run's own code
        self._dataset = PinnedDataset(self._view, self._loader.seed, transform)
        self._collate: Callable[[Any], Any] = collate or (default_convert if self._loader.batch_size is None else default_collate)
        self._values: Values = values_of(transform)
        self._classes: list[str] = request["classes"]
        self._watcher = TorchWatcher()

    def digest(self, epoch: int | None, positions: Sequence[int]) -> str | None:
        """Digest of a batch; ``None`` when this loader's transform cannot make it."""
        try:
            samples = self._without_failures(self._dataset.__getitems__([(epoch or 0, position) for position in positions]))
        except LineageError:
            return None
        return self._watcher.digest(self._batch([sample for _, sample in samples])).hex()

    def _batch(self, values: list[Any]) -> Any:
        return self._collate(values[0] if self._loader.batch_size is None else values)

    def make(self, wanted: dict[str, Any], folder: Path, pictures: list[tuple[Path, str]]) -> dict[str, Any]:
        """One batch, or the samples of one."""
        epoch, positions = wanted["epoch"], wanted["positions"]
        # Read outside an epoch by the loop itself: no transform of a loader was called.
        samples = self._without_failures(self._dataset.__getitems__([(epoch or 0, position) for position in positions]))
        positions, values = [position for position, _ in samples], [sample for _, sample in samples]
        digest, tensors = None, None
        if wanted["is_batch"]:
            batch = self._batch(values)
            digest = self._watcher.digest(batch).hex()
            tensors = f"{wanted['name']}.pt"
            torch.save(batch, folder / tensors)
        raw = self._view.samples(positions)
        made = [
            self._drawn(wanted["name"], place, value, row, folder, pictures)
            for place, (value, row) in enumerate(zip(values, raw, strict=True))
        ]
        return {"digest": digest, "tensors": tensors, "samples": made, "values": self._values.told}

    def _without_failures(self, samples: Sequence[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """Rows that the loader left out are left out again; any other failure is raised."""
        good = [(position, sample) for position, sample in samples if not isinstance(sample, Failure)]
        for _, sample in samples:
            if isinstance(sample, Failure) and not (good and sample.is_its_own and self._loader.on_error == "skip"):
                sample.raise_it()
        return good

    def _drawn(
        self, name: str, place: int, value: Any, row: dict[str, Any], folder: Path, pictures: list[tuple[Path, str]]
    ) -> dict[str, Any]:
        sample_id = row.get("sample_id") if isinstance(row.get("sample_id"), str) else None
        drawn = draw_sample(value, self._values, self._classes)
        file = None
        if drawn is not None:
            file = f"{name}-{place:03d}-row-{row['row']}.png"
            drawn.picture.save(folder / file)
            pictures.append((folder / file, f"{name}  row {row['row']}{f'  {sample_id}' if sample_id else ''}"))
        return {
            "position": row["index"],
            "row": row["row"],
            "sample_id": sample_id,
            "picture": file,
            "boxes": 0 if drawn is None else drawn.boxes,
        }


def _provide_main(named: str | None, root: Path) -> None:
    """Let names of ``__main__`` be found, the way ``multiprocessing`` does it for processes that are spawned."""
    if named is None:
        return
    kind, _, name = named.partition(":")
    if kind == "module":
        # A package's __main__ is a module of that name; nothing in it runs, because its __name__ is another one.
        found = vars(importlib.import_module(name))
    else:
        path = root / name
        sys.path.insert(0, str(path.parent))
        found = runpy.run_path(str(path), run_name="__mp_main__")
    module = types.ModuleType("__mp_main__")
    module.__dict__.update(found)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def command(arguments: Sequence[str]) -> int:
    """Entry point; errors in one line on stderr."""
    try:
        main(arguments[0])
    except LineageError as error:
        if os.environ.get("LINEAGE_DEBUG"):
            raise
        print(error.message, file=sys.stderr)  # noqa: T201 - told to the command that started this
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
