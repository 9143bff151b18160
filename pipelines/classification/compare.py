"""Several configurations, each with one seed or more: what is missing is trained, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from lineage.errors import ExecutionFailed
from pipelines.classification.config import Config
from pipelines.configuration import finished_training


@dataclass(frozen=True, slots=True)
class Wanted:
    """A training to compare.

    Attributes:
        label: What its configuration is called; trainings of one label differ in their seeds only.
        config: Its configuration.
        options: The same as options of ``python -m pipelines.classification train``.
    """

    label: str
    config: Config
    options: tuple[str, ...]


def train_missing(wanted: Sequence[Wanted], *, again: bool = False) -> dict[str, list[str]]:
    """Train what is missing, one after the other, each in a process of its own, so that each can be reproduced by itself.

    A finished run of the same project whose configuration differs in nothing that decides the result is taken in place of a new one.

    Args:
        wanted: The trainings.
        again: Train all of them anew.

    Returns:
        Label to ids of its runs, in the order of ``wanted``.

    Raises:
        ExecutionFailed: A training ended with an error; it has told which.
    """
    found: dict[str, list[str]] = {}
    for item in wanted:
        known = None if again else finished_training(item.config)
        found.setdefault(item.label, []).append(_train(item) if known is None else known)
    return found


def _train(item: Wanted) -> str:
    command = [sys.executable, "-m", "pipelines.classification", "train", *item.options, "--json"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode != 0:
        raise ExecutionFailed(" ".join(command[1:]), ended.returncode)
    return str(json.loads(ended.stdout.splitlines()[-1])["run_id"])
