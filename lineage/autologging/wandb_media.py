"""What is logged to Weights & Biases beside numbers, for the record: pictures with boxes and masks, tables, histograms, charts, files.

Read from W&B's own objects once it has taken them. Names that it makes up for its files are left out: the same pictures give the same
digests.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lineage.model.media import cell, histogram
from lineage.record.media import LARGEST_BYTES, MOST_ROWS, Put, picture, text
from lineage.record.media_log import table

Build = Callable[[Put], Mapping[str, Any]]

_HISTOGRAMS = 4_000
"""Of one step of ``wandb.watch``: a model with more parameters is cut off."""


def numbers_in(data: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of what is logged; names inside of names are joined by a dot."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from numbers_in(value, f"{before}{name}.")
        elif isinstance(value, bool | int | float):
            yield f"{before}{name}", float(value)
        elif getattr(value, "ndim", None) is not None and getattr(value, "size", None) is not None and hasattr(value, "item"):
            try:
                yield f"{before}{name}", float(value.item())
            except (TypeError, ValueError, RuntimeError):
                continue  # an array is no number


def media_in(data: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Build]]:
    """(key, what makes its sheet) for everything that is no number; names inside of names are joined by a dot."""
    for name, value in data.items():
        key = f"{before}{name}"
        if isinstance(value, Mapping):
            yield from media_in(value, f"{key}.")
        elif (build := _builder(value)) is not None:
            yield key, build


def histograms_in(data: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    """Histograms by name."""
    kinds = _kinds("Histogram")
    return {str(name): histogram(value.histogram, value.bins) for name, value in data.items() if kinds and isinstance(value, kinds)}


class WatchedModel:
    """What ``wandb.watch`` tells of models: histograms of gradients and parameters, and their layers.

    Args:
        keep: Keeps a sheet: (key, step, what makes it).
    """

    def __init__(self, keep: Callable[[str, int, Build], None]) -> None:
        self._keep = keep
        self._step = 0
        self._histograms: dict[str, dict[str, Any]] = {}
        self._graphs: dict[str, Any] = {}
        self._models = 0

    def told(self, histograms: Mapping[str, dict[str, Any]], step: int) -> None:
        """Histograms of a step; all of one step are one sheet."""
        if step != self._step:
            self.flush()
        self._step = step
        self._histograms |= histograms

    @contextmanager
    def graphs_of(self, run: Any) -> Iterator[None]:
        """Around ``wandb.watch``: graphs that it makes are those of models whose layers are to be known once data went through them."""
        history: Any = getattr(run, "_torch", None)
        make = getattr(history, "hook_torch", None)
        if make is None:
            yield
            return

        def hook_torch(*arguments: Any, **options: Any) -> Any:
            graph = make(*arguments, **options)
            self._graphs[f"model_{self._models}" if self._models else "model"] = graph
            self._models += 1
            return graph

        history.hook_torch = hook_torch
        try:
            yield
        finally:
            history.hook_torch = make

    def look(self, *, is_last: bool = False) -> None:
        """Keep the layers of models that are known by now; in the end what is known of them, where not every layer was used."""
        for key, graph in [*self._graphs.items()]:
            nodes = list(graph.nodes)
            if nodes and (is_last or not graph._graph_hooks):
                del self._graphs[key]
                self._keep(key, 0, functools.partial(_layers, nodes))

    def flush(self, *, is_last: bool = False) -> None:
        """Keep what waits."""
        self.look(is_last=is_last)
        waiting, self._histograms = self._histograms, {}
        if waiting:
            kept = dict(sorted(waiting.items())[:_HISTOGRAMS])
            self._keep("watch", self._step, lambda put: {"type": "histograms", "of": {text(name): kept[name] for name in kept}})


def _kinds(*names: str) -> tuple[type[Any], ...]:
    module = sys.modules["wandb"]
    found = [getattr(module, name, None) for name in names]
    return tuple(kind for kind in found if isinstance(kind, type))


def _builder(value: Any) -> Build | None:
    if isinstance(value, list | tuple) and value and all(isinstance(item, _kinds("Image")) for item in value):
        return lambda put: _pictures(value, put)
    if isinstance(value, _kinds("Image")):
        return lambda put: _pictures([value], put)
    if isinstance(value, _kinds("Histogram")):
        return lambda put: {"type": "histogram", **histogram(value.histogram, value.bins)}
    if isinstance(value, _kinds("Table")):
        return lambda put: _table(value, put)
    if hasattr(value, "table") and hasattr(value, "spec") and isinstance(value.table, _kinds("Table")):
        return lambda put: _chart(value, put)
    if hasattr(value, "savefig"):
        return lambda put: _figure(value, put)
    if type(value).__module__.startswith("plotly.") and hasattr(value, "to_json"):
        return lambda put: _drawing(value, put)
    files = value if isinstance(value, list | tuple) else [value]
    if files and all(_file_of(item) is not None for item in files):
        return lambda put: {"type": "files", "items": [_file(item, put) for item in files]}
    return None


def _file_of(value: Any) -> Path | None:
    """The file of one of W&B's media; ``None`` for anything else."""
    if not hasattr(value, "bind_to_run"):
        return None
    path = getattr(value, "_path", None)
    return Path(path) if isinstance(path, str) and Path(path).is_file() else None


def _content(value: Any) -> bytes:
    path = _file_of(value)
    if path is None:
        raise OSError("its file is not at hand")
    if path.stat().st_size > LARGEST_BYTES:
        return bytes(LARGEST_BYTES + 1)  # over the limit, without reading it
    return path.read_bytes()


def _pictures(images: Sequence[Any], put: Put) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    classes: dict[str, str] = {}
    for image in images:
        item = picture(_content(image), put, getattr(image, "_caption", None))
        width, height = item.get("width", 1), item.get("height", 1)
        boxes = {
            text(kind): [_box(box, width, height) for box in given._val] for kind, given in (getattr(image, "_boxes", None) or {}).items()
        }
        masks = {text(kind): put(_content(given)) for kind, given in (getattr(image, "_masks", None) or {}).items()}
        items.append(item | ({"boxes": boxes} if boxes else {}) | ({"masks": masks} if masks else {}))
        classes |= _classes(image)
    return {"type": "pictures", "items": items, "classes": classes}


def _classes(image: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for given in (getattr(image, "_boxes", None) or {}).values():
        found |= {str(number): text(name) for number, name in (getattr(given, "_class_labels", None) or {}).items()}
    for given in (getattr(image, "_masks", None) or {}).values():
        labels = (getattr(given, "_val", None) or {}).get("class_labels") or {}
        found |= {str(number): text(name) for number, name in labels.items()}
    return found


def _box(box: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    position = box["position"]
    if "middle" in position:
        (x, y), wide, high = position["middle"], position["width"], position["height"]
        corners = [x - wide / 2, y - high / 2, x + wide / 2, y + high / 2]
    else:
        corners = [position[name] for name in ("minX", "minY", "maxX", "maxY")]
    if box.get("domain") != "pixel":  # shares of the picture
        corners = [corner * size for corner, size in zip(corners, (width, height, width, height), strict=True)]
    told: dict[str, Any] = {"corners": [cell(float(corner)) for corner in corners], "label": int(box.get("class_id", 0))}
    scores = box.get("scores") or {}
    if scores:
        told["score"] = cell(float(next(iter(scores.values()))))
    return told | ({"caption": text(box["box_caption"])} if box.get("box_caption") else {})


def _table(given: Any, put: Put) -> dict[str, Any]:
    rows = [[_cell(value, put) for value in row] for row in given.data[:MOST_ROWS]]
    return table(list(given.columns), rows, len(given.data))


def _cell(value: Any, put: Put) -> Any:
    if isinstance(value, _kinds("Image")):
        return picture(_content(value), put, getattr(value, "_caption", None))
    if isinstance(value, _kinds("Histogram")):
        return text(f"histogram of {sum(value.histogram):g} values")
    if hasattr(value, "bind_to_run"):
        return type(value).__name__  # its text would hold an address in memory
    return cell(value)


def _chart(given: Any, put: Put) -> dict[str, Any]:
    spec = given.spec
    named = {"fields": spec.fields, "texts": spec.string_fields}
    told = {part: {text(name): text(value) for name, value in (values or {}).items()} for part, values in named.items()}
    return _table(given.table, put) | {"type": "chart", "spec": text(spec.spec_name)} | told


def _figure(figure: Any, put: Put) -> dict[str, Any]:
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return {"type": "pictures", "items": [picture(buffer.getvalue(), put)], "classes": {}}


def _drawing(value: Any, put: Put) -> dict[str, Any]:
    content = str(value.to_json()).encode()
    return {"type": "files", "items": [{"file": put(content), "name": "plotly.json", "size_bytes": len(content)}]}


def _file(value: Any, put: Put) -> dict[str, Any]:
    content = _content(value)
    suffix = "".join(Path(str(value._path)).suffixes[-2:])
    kind = type(value).__name__.lower()
    item: dict[str, Any] = {"file": put(content), "name": f"{kind}{suffix}"[:60], "size_bytes": len(content)}
    caption = getattr(value, "_caption", None)
    return item | ({"caption": text(caption)} if caption else {})


def _layers(nodes: Sequence[Any], _: Put) -> dict[str, Any]:
    layers = []
    for node in nodes:
        sizes = [int(size) for size in node.num_parameters or ()]
        shape = node.output_shape
        layers.append(
            {
                "name": text(node.name),
                "layer": text(str(node.class_name).partition("(")[0]),
                "output_shape": text(shape) if shape is not None else None,
                "parameters": sum(sizes),
            }
        )
    return {"type": "model", "layers": layers, "parameters": sum(layer["parameters"] for layer in layers)}
