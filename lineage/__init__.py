"""Which exact data made this model, and can I make it again?

Record a run::

    import lineage

    with lineage.start_run(project="parking", job_type="train", config={"lr": 0.02}, seed=7) as run:
        train = run.use_dataset("data/visdrone-train", view="cars-20px", role="train")
        run.log({"loss": 0.5})
        run.log_artifact("model.pth", kind="model")

then look it up (``lineage.get``, ``lineage.trained_on``) or make it again (``lineage reproduce RUN``). Errors: :mod:`lineage.errors`.
Importing this package loads no framework; names below are loaded when first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineage import errors, training
    from lineage.api.keeping import archive, materialise, open_recorded, verify
    from lineage.api.looking import (
        compare_steps,
        diff,
        get,
        group,
        impact,
        importance,
        leaks,
        metrics,
        models_using,
        rows_of,
        runs,
        trained_on,
    )
    from lineage.api.recording import start_run
    from lineage.api.sweeping import agent, sweep
    from lineage.api.uploading import upload
    from lineage.autologging.switch import autolog

_PLACES = {
    "keeping": ("archive", "materialise", "open_recorded", "verify"),
    "looking": (
        "compare_steps",
        "diff",
        "get",
        "group",
        "impact",
        "importance",
        "leaks",
        "metrics",
        "models_using",
        "rows_of",
        "runs",
        "trained_on",
    ),
    "recording": ("start_run",),
    "sweeping": ("agent", "sweep"),
    "uploading": ("upload",),
}

__all__ = [
    "agent",
    "archive",
    "autolog",
    "compare_steps",
    "diff",
    "errors",
    "get",
    "group",
    "impact",
    "importance",
    "leaks",
    "materialise",
    "metrics",
    "models_using",
    "open_recorded",
    "rows_of",
    "runs",
    "start_run",
    "sweep",
    "trained_on",
    "training",
    "upload",
    "verify",
]


if "LINEAGE_LOADS" in os.environ:  # of a run: this may be one of its workers, which tells what it loads
    importlib.import_module("lineage.record.modules").tell_if_worker()


def __getattr__(name: str) -> Any:
    if name in ("errors", "training"):
        return importlib.import_module(f"lineage.{name}")
    if name == "autolog":
        return importlib.import_module("lineage.autologging.switch").autolog
    for place, names in _PLACES.items():
        if name in names:
            return getattr(importlib.import_module(f"lineage.api.{place}"), name)
    raise AttributeError(f"module 'lineage' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
