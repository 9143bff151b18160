"""Sweeps from Python, as ``wandb.sweep`` and ``wandb.agent``."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lineage.api.process import wired
from lineage.errors import InvalidSource, MissingExtra, NotFound
from lineage.model.sweep_file import SweepDefinition, parse_definition
from lineage.ports.sweeps import Trial
from lineage.settings import load_settings
from lineage.sweeping.agent import Worked, work
from lineage.sweeping.create import PARALLEL, create_sweep
from lineage.sweeping.function import repeated_trial, run_function
from lineage.sweeping.program import run_program
from lineage.sweeping.result import Outcome, words_of

_FLOAT = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.[\d_]+)[eE][-+]?\d{1,3}$")


def sweep(
    definition: Mapping[str, Any] | str | Path, project: str | None = None, *, seed: int | None = None, parallel: int = PARALLEL
) -> str:
    """Make a sweep, and return its id for :func:`agent`.

    In a reproduction of one of its trials nothing is made, and the id is the recorded one.

    Args:
        definition: What W&B's sweep files hold, or the path of such a file.
        project: Of the runs; what the definition says without one.
        seed: Decides every proposal; drawn by chance without one. The same definition, seed and results give the same proposals.
        parallel: How many trials may run at the same time in a search that learns from results.

    Raises:
        InvalidSource: Something in the definition is wrong; every fault is named by its key.
        NotFound: There is no such file.
        UsageError: ``seed`` or ``parallel`` is out of range, or a parameter is a secret.
    """
    repeated = repeated_trial()
    if repeated is not None:
        return repeated.sweep
    read = parse_definition(definition, "the definition") if isinstance(definition, Mapping) else read_definition(Path(definition))
    from lineage.wiring_sweeps import sweep_engine

    settings = load_settings()
    ports = wired(settings)
    made = create_sweep(
        sweep_engine(settings),
        ports.objects,
        read,
        project=project,
        default_project=settings.project,
        seed=seed,
        parallel=parallel,
    )
    return made.id


def agent(sweep_id: str, function: Callable[[], Any] | None = None, count: int | None = None) -> None:
    """Run trials of a sweep, one after the other, until it has no more.

    With a function it is called once for each trial, in this process and with no arguments; the run that it begins (``lineage.start_run``
    or ``wandb.init``) is the trial's, and has its values in ``run.config`` or ``wandb.config``. Without one the sweep's program is run, as
    by ``lineage agent``. In a reproduction of a trial the function is called once, with the recorded values.

    Args:
        sweep_id: Id of the sweep, or how it begins.
        function: What to call.
        count: At most so many trials.

    Raises:
        NotFound: There is no such sweep.
        ExecutionFailed: The first three trials failed, or the program cannot be started.
        UsageError: The function began no run.
    """
    if function is None:
        _work(sweep_id, count, None)
        return
    switch = importlib.import_module("lineage.autologging.switch")  # above this layer: what W&B is told is recorded, too
    with switch.autolog():
        if repeated_trial() is not None:
            function()
        else:
            _work(sweep_id, count, function)


def _work(sweep_id: str, count: int | None, function: Callable[[], Any] | None) -> Worked:
    from lineage.wiring_agents import crew_of

    settings = load_settings()
    crew = crew_of(sweep_id, _say, settings=settings, ports=wired(settings))
    runs = run_program if function is None else run_function(function)
    worked = work(crew, count=count, run_trial=runs, on_begin=_began, on_end=_ended)
    _say("done", f"sweep {crew.sweep.id}: {worked.why}")
    return worked


def _say(kind: str, text: str) -> None:
    print(f"lineage: {'' if kind == 'done' else kind + ': '}{text}", file=sys.stderr)  # noqa: T201 - progress, as an agent's command shows it


def _began(trial: Trial) -> None:
    _say("done", f"trial {trial.number}: {words_of(trial.parameters)}")


def _ended(outcome: Outcome) -> None:
    value = "" if outcome.value is None else f" {outcome.value:.6g}"
    reason = "" if outcome.end == "complete" or outcome.reason is None else f": {outcome.reason}"
    _say("error" if outcome.end == "failed" else "done", f"trial {outcome.trial.number}: {outcome.end}{value}{reason}")


def read_definition(file: Path) -> SweepDefinition:
    """A sweep file. Numbers are read as YAML 1.2 has them, so that ``1e-3`` is one; a key may stand once.

    Raises:
        InvalidSource: It is no YAML, or no sweep.
        NotFound: There is no such file.
        MissingExtra: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise MissingExtra("pyyaml", "sweeps") from None
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidSource(f"{file}: no text in UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise NotFound("sweep file", os.fspath(file), detail=(error.strerror or "cannot be read").lower()) from error

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader: Any, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise InvalidSource(f"{file}, line {line}: key '{key.value}' stands twice", hint="the first one would be lost; remove one")
            seen.add(key.value)
        loader.flatten_mapping(node)
        return {loader.construct_object(key, deep=True): loader.construct_object(value, deep=True) for key, value in node.value}

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    try:
        found = yaml.load(text, Loader)  # a safe one, stricter with keys
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", line {mark.line + 1}"
        told = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InvalidSource(f"{file}{where}: {told}", hint="the file must be YAML, as `wandb sweep` reads it") from error
    except TypeError as error:  # a list or a mapping as a key
        raise InvalidSource(f"{file}: {error}", hint="keys are words") from error
    return parse_definition(found, os.fspath(file))
