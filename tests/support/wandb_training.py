"""A training that tells W&B, in a folder that the fixture ``folder`` made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.commands import command

TRAIN = """
import sys, time, urllib.request
import lineage
config = {"lr": 0.1, "lineage": "theirs", "train_uri": "theirs", "input_datasets": ["theirs"]}
with lineage.start_run("parking", "train", name="a/name", group="g", tags=("x", "y"), config=config, trackers=("wandb",)) as run:
    run.use_dataset("ds", view="large", role="train")
    run.define_metric("loss", step_metric="epoch")
    longest = 0.0
    for step in range(200):
        before = time.perf_counter()
        run.log({"loss": 1 / (step + 1), "epoch": step})
        longest = max(longest, time.perf_counter() - before)
        if step == 100 and len(sys.argv) > 1:
            time.sleep(2)
            urllib.request.urlopen(urllib.request.Request(sys.argv[1] + "/__behave", b'{"mode": "hang"}', method="POST"))
    with open("model v1.pth", "w") as stream:
        stream.write("weights")
    run.log_artifact("model v1.pth", kind="model")
    run.log_artifact("train.py", kind="job", name="a" * 200)
    before = time.perf_counter()
print(longest, time.perf_counter() - before)
"""


def train(folder: Path, *arguments: str, script: str = TRAIN, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it.

    Args:
        folder: Where.
        arguments: A server's address: from step 100 on it hangs.
        script: Another training.
        variables: Of its environment.
    """
    (folder / "script.py").write_text(script)
    return command(folder, sys.executable, "script.py", *arguments, **variables)
