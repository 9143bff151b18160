"""What a process that is a trial of a sweep is told, and how it is told again in a reproduction."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lineage.errors import UsageError
from lineage.model.plain import plain
from lineage.model.sweep import SweepTrial

TRIAL_VARIABLE = "LINEAGE_TRIAL"
"""Names a file with the trial that a process is, as JSON."""

PARAMETERS_VARIABLE = "WANDB_SWEEP_PARAM_PATH"
"""Names the file in which W&B looks for a trial's values; what is in it wins over what the program configures."""

GROUP_VARIABLE = "WANDB_RUN_GROUP"

_FOLDER = "trials"
_ARGUMENTS = "args.json"
_PAIR = re.compile(r"\\(?:u(?P<high>d[89ab][0-9a-f]{2})\\u(?P<low>d[c-f][0-9a-f]{2})|.)")


@dataclass(frozen=True, slots=True)
class TrialFiles:
    """A trial's files.

    Attributes:
        folder: Where they are.
        variables: Environment variables that lead a process to them.
    """

    folder: Path
    variables: dict[str, str]

    def remove(self) -> None:
        """Delete them: the trial is over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def arguments(self) -> Path:
        """The parameters as one JSON object, for programs that read a file."""
        return self.folder / _ARGUMENTS

    def command(self, trial: SweepTrial, recorded: Sequence[str]) -> tuple[str, ...]:
        """A recorded command with the file of the parameters as it is here."""
        tail = os.sep + os.path.join(_FOLDER, _name(trial), _ARGUMENTS)
        return tuple(str(self.arguments) if word.endswith(tail) else word for word in recorded)


def place_trial(trial: SweepTrial, store_folder: Path, repetition: str | None = None) -> TrialFiles:
    """Write a trial's files into the store's folder, where nobody takes them for something that a program read or wrote.

    Args:
        trial: The trial.
        store_folder: Of the store.
        repetition: Id of a run that repeats it: it gets files of its own.
    """
    folder = store_folder / _FOLDER / (repetition or _name(trial))
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {name: {"value": value} for name, value in trial.parameters.items()}
    texts = {
        "trial.json": trial.model_dump_json(),
        _ARGUMENTS: json.dumps(trial.parameters, ensure_ascii=False),
        "wandb.yaml": _yaml({"wandb_version": 1, **parameters}),
    }
    for name, text in texts.items():
        aside = folder / f".{name}.{os.getpid()}"
        aside.write_text(text, encoding="utf-8")
        aside.rename(folder / name)
    return TrialFiles(
        folder,
        {TRIAL_VARIABLE: str(folder / "trial.json"), PARAMETERS_VARIABLE: str(folder / "wandb.yaml"), GROUP_VARIABLE: trial.sweep},
    )


def given_trial() -> SweepTrial | None:
    """The trial that this process is told to be, if any.

    Raises:
        UsageError: What it is told cannot be read.
    """
    named = os.environ.get(TRIAL_VARIABLE)
    if not named:
        return None
    try:
        return SweepTrial.model_validate_json(Path(named).read_bytes())
    except OSError as error:
        raise UsageError(
            f"{TRIAL_VARIABLE} names {named}, which cannot be read: {error.strerror}", hint="`lineage agent` sets it"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{named}, which {TRIAL_VARIABLE} names: {place}: {first['msg']}", hint="`lineage agent` sets it") from error


def take_trial() -> SweepTrial | None:
    """As :func:`given_trial`, once: a further run of this process is no trial."""
    trial = given_trial()
    os.environ.pop(TRIAL_VARIABLE, None)
    return trial


def _name(trial: SweepTrial) -> str:
    return f"{trial.sweep}-{trial.number}-{trial.attempt}"


def _yaml(value: dict[str, Any]) -> str:
    """JSON in ASCII, which is YAML but for two things: there ``1e-05`` is a text without a point, and two surrogates are no sign."""
    return re.sub(
        r'"(?:[^"\\]|\\.)*"|(?<![\d.])(?P<whole>-?\d+)(?P<exponent>e[+-]?\d+)',
        lambda found: found[0] if found["whole"] is None else f"{found['whole']}.0{found['exponent']}",
        _PAIR.sub(_joined, json.dumps(plain(value, "parameters"))),
    )


def _joined(found: re.Match[str]) -> str:
    if found["high"] is None:
        return found[0]
    return f"\\U{0x10000 + ((int(found['high'], 16) - 0xD800) << 10) + int(found['low'], 16) - 0xDC00:08x}"
