"""A store that looks like a small team's: pictures, views, training runs with curves, repetitions, one that failed."""

from __future__ import annotations

import math
import random
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lineage.model.dataset import InputRecord
from lineage.model.environment import Package
from lineage.model.event import ArtifactMade, ArtifactUsed, Ended, InputUsed, Noted, Reproduced, Started
from lineage.model.run import Artifact, MetricPoint, Reproduction, Run, RunState, UsedArtifact
from lineage.ports import Ports
from lineage.record.start import start_run
from lineage.record.upload import upload
from lineage.settings import Settings
from lineage.wiring import importer, wire
from pipelines.data.scenes import write_scenes
from service import examples

QUERY = "select * where not any(logical_and(logical_or(boxes[:,2]<20, boxes[:,3]<20), labels == 'car'))"
BEGAN = datetime(2026, 3, 2, 8, 14, 5, 402117, tzinfo=UTC)
STEPS = 120
_PACKAGES = {"albumentations": "2.0.8", "deeplake": "4.7.4", "pillow": "11.2.1", "torchvision": "0.26.0", "wandb": "0.31.4"}
_SCRIPT = "import lineage\n\n\ndef main() -> None:\n    with lineage.start_run(project='parking'):\n        print('trained')\n"


@dataclass(frozen=True, slots=True)
class Filled:
    """What is in the store.

    Attributes:
        settings: Opens it.
        ids: Run ids by a word for each.
        picture: Digest of a picture that training runs read.
        dataset_id: Of the training dataset.
    """

    settings: Settings
    ids: Mapping[str, str]
    picture: str
    dataset_id: str

    def ports(self) -> Ports:
        """The store, open; the caller closes it."""
        return wire(self.settings)


def fill(folder: Path, *, pictures: int = 24, size: tuple[int, int] = (320, 240)) -> Filled:
    """Fill a new store in ``folder``: two uploads, six runs over two rates and three seeds, repetitions, and what followed."""
    repository = folder / "parking"
    repository.mkdir(parents=True)
    (repository / "train.py").write_text(_SCRIPT)
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "training"]):
        subprocess.run(["git", *command], cwd=repository, check=True, timeout=60)
    settings = Settings(str(folder / "store"), folder / "store")
    ports = wire(settings)
    write_scenes(folder / "scenes", train=pictures, validation=max(4, pictures // 3), size=size, seed=7, recipe="parking", defects=[])
    try:
        inputs = {role: _uploaded(ports, repository, folder, role) for role in ("train", "validation")}
        ids = _fill(ports, folder, inputs)
        digest = next(iter(_pictures(ports, inputs["train"])))
    finally:
        ports.runs.close()
    return Filled(settings, ids, digest, inputs["train"].dataset_id)


def _uploaded(ports: Ports, repository: Path, folder: Path, role: str) -> InputRecord:
    """A dataset version, and a view of it as a run would record it."""
    uri = f"file://{folder}/data/visdrone-{role}"
    command = ["lineage", "upload", "visdrone", f"scenes/{role}", f"data/visdrone-{role}"]
    with start_run(
        ports, folder=repository, job_type="dataset_upload", project="parking", name=f"upload-visdrone-{role}", command=command
    ) as run:
        upload(run, ports, importer("visdrone"), folder / "scenes" / role, uri)
    ports.datasets().save_view(uri, QUERY, "cars-20px", "saved by lineage view create")
    with start_run(
        ports, folder=repository, job_type="preparation", project="parking", name=f"look-at-{role}", command=["python", "look.py"]
    ) as run:
        run.use_dataset(uri, role=role, view="cars-20px")
    return run.record.inputs[0]


def _pictures(ports: Ports, item: InputRecord) -> list[str]:
    from lineage.record.identity import recorded_digests, recorded_rows

    digests = recorded_digests(ports.objects, item, recorded_rows(ports.objects, item))
    return [f"sha256:{row.tobytes().hex()}" for row in digests.pictures]


def _fill(ports: Ports, folder: Path, inputs: Mapping[str, InputRecord]) -> dict[str, str]:
    both = [inputs["train"], inputs["validation"]]
    ids: dict[str, str] = {}
    at = BEGAN
    for rate in (0.02, 0.005):
        for seed in (7, 8, 9):
            word = f"rate-{rate}-seed-{seed}"
            ids[word] = _train(ports, folder, word, at, both, group="rates", rate=rate, seed=seed)
            at += timedelta(hours=3, minutes=11)
    best = ids["rate-0.02-seed-7"]
    for word, verdict, wanted in (("again", "identical", 0.02), ("again-elsewhere", "diverged", 0.019)):
        ids[word] = _train(ports, folder, word, at, both, group="rates", rate=wanted, seed=7, reproduces=best)
        reproduction = Reproduction(run_id=ids[word], verdict=verdict, at=at + timedelta(minutes=12))  # type: ignore[arg-type]
        ports.runs.append(best, Reproduced(at=reproduction.at, reproduction=reproduction))
        at += timedelta(days=9)
    base = next(item for item in ports.runs.get(best).outputs if item.kind == "model")
    ids["tuned"] = _train(ports, folder, "tuned", at, both, group="fine-tuning", rate=0.001, seed=7, base=base)
    ids["failed"] = _train(ports, folder, "failed", at + timedelta(hours=5), both[:1], group="fine-tuning", rate=0.5, seed=7, ends="failed")
    ids["running"] = _train(ports, folder, "running", at + timedelta(days=1), both, group="fine-tuning", rate=0.002, seed=8, ends=None)
    return ids


def _train(
    ports: Ports,
    folder: Path,
    word: str,
    at: datetime,
    inputs: Sequence[InputRecord],
    *,
    group: str,
    rate: float,
    seed: int,
    reproduces: str | None = None,
    base: Artifact | None = None,
    ends: str | None = "finished",
) -> str:
    """Write the record of a training run, event by event, as if it had been made at that time."""
    known = examples.record()
    assert known.environment is not None
    packages = known.environment.packages | {
        name: Package(version=version, record="sha256:" + "ab" * 32) for name, version in _PACKAGES.items()
    }
    run = Run(
        id=random.Random(word).randbytes(16).hex(),
        name=f"train-{random.Random(word).randbytes(3).hex()}",
        project="parking",
        group=group,
        job_type="train",
        started_at=at,
        command=("python", "-m", "pipelines.detection", "train", "config.yaml", "--seed", str(seed)),
        code=known.code,
        environment=known.environment.model_copy(update={"packages": packages}),
        host="workstation",
        user="ada" if seed != 8 else "grace",
        config={"model": "fasterrcnn_mobilenet", "epochs": 10, "batch_size": 4, "optimizer": {"name": "sgd", "learning_rate": rate}},
        seed=seed,
        determinism=known.determinism,
        reproduces=reproduces,
    )
    ports.runs.append(run.id, Started(at=at, run=run))
    for item in inputs:
        ports.runs.append(run.id, InputUsed(at=at, input=item.model_copy(update={"used_at": at + timedelta(seconds=1)})))
    if base is not None:
        used = UsedArtifact(
            role="base", kind="model", path="model.pth", digest=base.digest, size_bytes=base.size_bytes, used_at=at + timedelta(seconds=1)
        )
        ports.runs.append(run.id, ArtifactUsed(at=at, artifact=used))
    points = _points(at, rate, seed, STEPS if ends == "finished" else STEPS // 3)
    ports.runs.add_metrics(run.id, points)
    if ends is None:
        return run.id
    if ends == "finished":
        weights = folder / f"{word}.pth"
        weights.write_bytes(random.Random(f"{rate} {seed}").randbytes(40_000))
        digest, size_bytes = ports.objects.put_file(weights)
        made = Artifact(name="model.pth", kind="model", path="runs/model.pth", digest=digest, size_bytes=size_bytes)
        ports.runs.append(run.id, ArtifactMade(at=at, artifact=made))
    else:
        ports.runs.append(run.id, Noted(at=at, note="the loss became infinite at step 31"))
    summary: dict[str, Any] = {}
    for point in points:
        summary |= {name: value for name, value in point.values.items() if math.isfinite(value)}
    ports.runs.append(
        run.id,
        Ended(
            at=at + timedelta(minutes=11, seconds=seed * 7 + rate * 1000),
            state=RunState(ends),  # type: ignore[arg-type]
            summary=summary,
            error=None if ends == "finished" else "FloatingPointError: the loss is not finite",
            metrics_digest=ports.runs.metrics_digest(run.id),
        ),
    )
    return run.id


def _points(at: datetime, rate: float, seed: int, steps: int) -> list[MetricPoint]:
    noise = random.Random(f"{rate} {seed}")
    found: list[MetricPoint] = []
    for step in range(steps):
        fallen = math.exp(-step * (0.01 + rate))
        loss = 0.35 + 1.6 * fallen + noise.gauss(0, 0.05) if rate < 0.3 or step < 31 else math.inf
        values = {"loss": loss, "loss_box_reg": 0.2 + 0.5 * fallen + noise.gauss(0, 0.02), "timing/step_s": 0.31 + noise.random() / 30}
        if step % 12 == 11:
            values["validation_AP"] = 0.41 * (1 - fallen) + noise.gauss(0, 0.008)
            values["validation_iou"] = 0.62 * (1 - fallen) + noise.gauss(0, 0.01)
        found.append(MetricPoint(step=step, values=values, at=at.timestamp() + 3 + step * 5.2))
    return found
