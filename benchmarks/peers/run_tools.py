"""One tracked job in each tool, in the tool's own environment, run in the job's repository.

    python run_tools.py TOOL

The job reads every file of ``data/`` and writes ``model.bin``. Each tool is asked for what all of them can keep: 20 parameters, the data
read, git's commit, the environment, a metric and the model.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

PARAMETERS = {f"p{number}": number for number in range(20)}
MODEL_BYTES = 1 << 20


def job() -> float:
    """The work itself; returns its metric."""
    digest = hashlib.sha256()
    for path in sorted(Path("data").iterdir()):
        digest.update(path.read_bytes())
    Path("model.bin").write_bytes(digest.digest() * (MODEL_BYTES // 32))
    return digest.digest()[0] / 255


def bare() -> None:
    """The floor: nothing is recorded."""
    job()


def ours() -> None:
    """``lineage.start_run``."""
    import lineage

    with lineage.start_run(project="benchmark", job_type="train", config=PARAMETERS, seed=7) as run:
        run.use_dataset(f"file://{Path('data').absolute()}", role="train")
        run.log({"loss": job()})
        run.log_artifact("model.bin", kind="model")


def wandb() -> None:
    """W&B, offline, with its code and console capture as they are."""
    import wandb as library

    with library.init(mode="offline", project="benchmark", config=PARAMETERS, settings=library.Settings(silent=True)) as run:
        data = library.Artifact("data", "dataset")
        data.add_dir("data")
        run.log_artifact(data)
        run.log({"loss": job()})
        model = library.Artifact("model", "model")
        model.add_file("model.bin")
        run.log_artifact(model)


def sacred() -> None:
    """Sacred with its file observer."""
    from sacred import Experiment
    from sacred.observers import FileStorageObserver

    experiment = Experiment("benchmark", base_dir=".")
    experiment.observers.append(FileStorageObserver("sacred"))
    experiment.add_config(PARAMETERS)

    @experiment.main
    def main() -> None:
        for path in sorted(Path("data").iterdir()):
            experiment.open_resource(str(path)).close()
        experiment.log_scalar("loss", job())
        experiment.add_artifact("model.bin")

    experiment.run()


def _mlflow(uri: str) -> None:
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "MLFLOW_ALLOW_FILE_STORE": "true"}
    import mlflow as library
    from mlflow.data.http_dataset_source import HTTPDatasetSource  # type: ignore[import-not-found]  # in the peer's environment only
    from mlflow.data.meta_dataset import MetaDataset

    library.set_tracking_uri(uri)
    with library.start_run():
        library.log_params(PARAMETERS)
        library.log_input(MetaDataset(HTTPDatasetSource("http://data.invalid/data"), name="data"), context="train")
        library.log_metric("loss", job())
        library.log_artifact("model.bin")


def mlflow_file() -> None:
    """MLflow, files."""
    _mlflow(f"file://{Path('mlruns').absolute()}")


def mlflow_sqlite() -> None:
    """MLflow, SQLite, its default."""
    _mlflow("sqlite:///mlflow.db")


TOOLS = {
    "bare": bare,
    "ours": ours,
    "wandb": wandb,
    "sacred": sacred,
    "mlflow-file": mlflow_file,
    "mlflow-sqlite": mlflow_sqlite,
}

if __name__ == "__main__":
    TOOLS[sys.argv[1]]()
