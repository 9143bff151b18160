"""Making a sweep of a definition."""

from __future__ import annotations

import json
import secrets

from lineage.errors import UsageError
from lineage.model.secrets import redact_values
from lineage.model.sweep_file import SweepDefinition
from lineage.ports import ObjectStore
from lineage.ports.sweeps import Sweep, SweepEngine

PARALLEL = 4


def create_sweep(
    engine: SweepEngine,
    objects: ObjectStore,
    definition: SweepDefinition,
    *,
    project: str | None,
    default_project: str,
    seed: int | None,
    parallel: int = PARALLEL,
) -> Sweep:
    """Keep a definition and begin a sweep of it.

    Args:
        engine: Where the sweep is kept.
        objects: Where its definition is.
        definition: What is asked for.
        project: Of its runs; the definition's without one.
        default_project: For a definition that names none.
        seed: Decides every proposal; drawn by chance without one, and recorded.
        parallel: How many trials may run at the same time in a search that learns from results.

    Raises:
        UsageError: A parameter is a secret by its name or value, or ``seed`` or ``parallel`` is out of range.
    """
    for name, parameter in definition.leaves():
        one = {name.rpartition(".")[2]: parameter.as_json()}
        if redact_values(one) != one:
            raise UsageError(
                f"parameters.{name} is a secret, and parameters are recorded",
                hint="give it to the program as an environment variable: the agent passes its own on",
            )
    digest = put_definition(objects, definition)
    number = secrets.randbelow(2**31) if seed is None else seed
    return engine.create(definition, digest, seed=number, parallel=parallel, project=project or definition.project or default_project)


def put_definition(objects: ObjectStore, definition: SweepDefinition) -> str:
    """Keep a definition, and return its digest. An agent does it again: until a run names it, nothing holds on to the object."""
    return objects.put_bytes(json.dumps(definition.as_json(), sort_keys=True, ensure_ascii=False).encode())
