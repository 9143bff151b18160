"""MLflow's digest of tables, in an environment of its own.

    python mlflow_digests.py TABLE.npz… [--repeats N]

Prints one JSON object: for each table the digests of the natural encodings, and how long each took with the data in memory already.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="1")
warnings.simplefilter("ignore")  # of libraries about each other; a digest that cannot be made raises

import datasets  # noqa: E402 - the variables above must be set before
import mlflow  # noqa: E402
import mlflow.data  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from columns import Table, load  # noqa: E402
from PIL import Image  # noqa: E402

BOX = ("left", "top", "width", "height")


def frame(table: Table) -> pd.DataFrame:
    """A row of the table a row; arrays as lists, pictures as bytes."""
    return pd.DataFrame({name: [_plain(value) for value in values] for name, values in table.columns.items()})


def arrays(table: Table) -> tuple[dict[str, Any], dict[str, Any]]:
    """(features, targets): pictures decoded and stacked, boxes (n, 4), texts, labels and everything else of all rows end to end."""
    features: dict[str, Any] = {}
    targets: dict[str, Any] = {}
    columns = dict(table.columns)
    if set(BOX) <= set(columns):
        targets["boxes"] = np.stack([np.asarray(columns.pop(name)) for name in BOX], axis=1)
    for name, values in columns.items():
        if isinstance(values[0], bytes):
            features[name] = np.stack([np.asarray(Image.open(io.BytesIO(value))) for value in values])
        elif isinstance(values[0], str):
            features[name] = np.array(values, dtype=object)
        else:
            targets[name] = np.concatenate(values) if np.ndim(values[0]) else np.asarray(values)
    return features, targets


def hugging_face(table: Table) -> datasets.Dataset:
    """A Hugging Face dataset; class labels with their names."""
    made = datasets.Dataset.from_dict({name: [_plain(value) for value in values] for name, values in table.columns.items()})
    features = made.features.copy()
    for name, names in table.class_names.items():
        label = datasets.ClassLabel(names=names)
        features[name] = datasets.Sequence(label) if np.ndim(table.columns[name][0]) else label
    return made.cast(features) if table.class_names else made


def _plain(value: Any) -> Any:
    return value.tolist() if np.ndim(value) else value


def _digest(make: Callable[[], Any], repeats: int) -> tuple[str, float]:
    took: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        digest = make().digest
        took.append(time.perf_counter() - began)
    return str(digest), statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    datasets.disable_progress_bars()
    found: dict[str, Any] = {}
    for path in options.tables:
        table = load(path)
        rows, (features, targets), hub = frame(table), arrays(table), hugging_face(table)
        makers: dict[str, Callable[[], Any]] = {
            "MLflow pandas": lambda rows=rows: mlflow.data.from_pandas(rows, source="benchmark"),
            "MLflow numpy": lambda x=features, y=targets: mlflow.data.from_numpy(x, source="benchmark", targets=y),
            "MLflow HF": lambda hub=hub: mlflow.data.from_huggingface(hub, path="benchmark"),
        }
        found[path.stem] = {name: _digest(make, options.repeats) for name, make in makers.items()}
    versions = f"mlflow {mlflow.__version__}, pandas {pd.__version__}, numpy {np.__version__}, datasets {datasets.__version__}"
    json.dump({"digests": found, "versions": versions}, sys.stdout)


if __name__ == "__main__":
    main()
