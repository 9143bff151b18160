"""What the verbs need of the outside world: small protocols, each with one adapter per technology in ``lineage.adapters``."""

from __future__ import annotations

from lineage.ports.boxed_pictures import BoxedPicture, ShownBox
from lineage.ports.datasets import DatasetBackend, DatasetReader, DatasetWriter, Exporter, Importer, OnError
from lineage.ports.foreign import EventFiles, ForeignFile, ForeignMedia, ForeignRun, PastRuns
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
    Sender,
    SourceControl,
    Step,
    Tracker,
)
from lineage.ports.pictures import Pictures
from lineage.ports.progress import Progress, no_progress
from lineage.ports.remotes import Remote
from lineage.ports.rows import (
    ArtifactEdge,
    DatasetName,
    KeyKind,
    KnownVersion,
    Link,
    LinkKind,
    RowIndex,
    RunName,
    Sighting,
    SweepName,
    VersionRead,
    ViewRead,
    texts_of,
)
from lineage.ports.runs import Liveness, Position, RunQuery, RunStore
from lineage.ports.stages import StageProbe, StageReading
from lineage.ports.steps import StepSink, Watch, Watcher
from lineage.ports.usage import Usage, UsageMeter

__all__ = [
    "AlteredInstalled",
    "ArtifactEdge",
    "BoxedPicture",
    "Buildable",
    "BuiltEnvironment",
    "CachedEnvironment",
    "DatasetBackend",
    "DatasetName",
    "DatasetReader",
    "DatasetWriter",
    "EnvironmentBuilder",
    "EnvironmentProbe",
    "EventFiles",
    "Executor",
    "Exporter",
    "ForeignFile",
    "ForeignMedia",
    "ForeignRun",
    "Importer",
    "KeyKind",
    "Keyring",
    "KnownVersion",
    "Link",
    "LinkKind",
    "Liveness",
    "ObjectStore",
    "OnError",
    "PastRuns",
    "Pictures",
    "Ports",
    "Position",
    "Progress",
    "Remote",
    "RowIndex",
    "RunName",
    "RunQuery",
    "RunStore",
    "Sender",
    "ShownBox",
    "Sighting",
    "SourceControl",
    "StageProbe",
    "StageReading",
    "Step",
    "StepSink",
    "SweepName",
    "Tracker",
    "Usage",
    "UsageMeter",
    "VersionRead",
    "ViewRead",
    "Watch",
    "Watcher",
    "no_progress",
    "texts_of",
]
