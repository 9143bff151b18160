"""What the verbs need of the outside world: small protocols, each with one adapter per technology in ``lineage.adapters``."""

from __future__ import annotations

from lineage.ports.datasets import DatasetBackend, DatasetReader, DatasetWriter, Exporter, Importer, OnError
from lineage.ports.keys import Keyring
from lineage.ports.objects import ObjectStore
from lineage.ports.outside import (
    AlteredInstalled,
    Buildable,
    BuiltEnvironment,
    CachedEnvironment,
    EnvironmentBuilder,
    EnvironmentProbe,
    Executor,
    Ports,
    SourceControl,
    Step,
    Tracker,
)
from lineage.ports.pictures import Pictures
from lineage.ports.progress import Progress, no_progress
from lineage.ports.rows import ArtifactEdge, KeyKind, KnownVersion, RowIndex, Sighting
from lineage.ports.runs import Liveness, RunQuery, RunStore
from lineage.ports.steps import StepSink, Watch, Watcher

__all__ = [
    "AlteredInstalled",
    "ArtifactEdge",
    "Buildable",
    "BuiltEnvironment",
    "CachedEnvironment",
    "DatasetBackend",
    "DatasetReader",
    "DatasetWriter",
    "EnvironmentBuilder",
    "EnvironmentProbe",
    "Executor",
    "Exporter",
    "Importer",
    "KeyKind",
    "Keyring",
    "KnownVersion",
    "Liveness",
    "ObjectStore",
    "OnError",
    "Pictures",
    "Ports",
    "Progress",
    "RowIndex",
    "RunQuery",
    "RunStore",
    "Sighting",
    "SourceControl",
    "Step",
    "StepSink",
    "Tracker",
    "Watch",
    "Watcher",
    "no_progress",
]
