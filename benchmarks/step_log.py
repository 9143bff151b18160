"""What the step log costs a training: Faster R-CNN on the CPU, each batch trained on with the log, with a part of it, and without.

    python benchmarks/step_log.py [--config playbook | --architecture NAME --width 320 --height 192 --batch-size 2] [--triples 20]
        [--threads 2] [--json FILE]

The pipeline's own model, transforms, loader and optimizer over drawn scenes, in a tracked run with ``run.watch``. Every batch is trained on
three times in a random order: *full* (as with ``every=1``), *light* (what is done between two full ones: the digests of batch, input and
losses) and *off*; the weights are put back in between, so that the three do the same work. ``every=10`` is nine light ones and a full one.
Beside the differences, which noise of the machine blurs, stands the time spent in the hooks themselves, part by part. Intervals are of
95 %, by bootstrap.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from scenes import repository, stored_scenes

import lineage
from lineage.training import make_deterministic
from pipelines.detection.config import load_config
from pipelines.detection.data import open_data
from pipelines.detection.model import build_model
from pipelines.detection.train import make_optimizer, make_schedule, train_one_epoch

Mode = Literal["full", "light", "off"]
MODES: tuple[Mode, ...] = ("full", "light", "off")
NEVER = 1 << 40
PARTS = ("batch", "input", "losses", "gradients", "parameters", "writing")


class Switch:
    """Turns the step log of a live run on and off between steps, and notes how long each part of it takes.

    It reaches into the run: a training has no reason to do this, so there is no public way.
    """

    def __init__(self, run: Any) -> None:
        self._steps = run.steps
        (self._watch,) = self._steps._watches
        self.mode: Mode = "off"
        self.spent: dict[str, float] = defaultdict(float)
        step, writer = self._watch.step, self._steps.writer
        self._steps.read = self._timed("batch", self._unless_off(self._steps.read))
        step.forward = self._timed("input", step.forward)
        step.loss = self._timed("losses", step.loss)
        writer.add = self._timed("writing", writer.add)
        self._watch._about_to_step = self._timed("gradients", self._watch._about_to_step)
        self._watch._parameters = self._timed("parameters", self._watch._parameters)

    def set(self, mode: Mode) -> None:
        """What the next step does."""
        self.mode = mode
        self._watch._is_open = mode != "off"
        self._watch._every = 1 if mode == "full" else NEVER
        self.spent.clear()

    def _unless_off(self, call: Callable[..., None]) -> Callable[..., None]:
        def called(*arguments: Any) -> None:
            if self.mode != "off":
                call(*arguments)

        return called

    def _timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.spent[part] += time.perf_counter() - began

        return timed


def measure(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Steps of each mode: seconds of each, and of each part of the log."""
    config = load_config(chosen.config, overrides(chosen, folder))
    noted: dict[str, list[Any]] = {"s": [], "cpu_s": [], "parts": []}
    random_order = random.Random(11)
    with lineage.start_run(project="benchmark", seed=3) as run:
        make_deterministic(run, threads=chosen.threads)
        data = open_data(run, config)
        model = build_model(config.model, width=config.transform.width, height=config.transform.height, classes=len(config.classes))
        optimizer = make_optimizer(model, config.optimizer)
        schedule = make_schedule(optimizer, config.optimizer, steps_per_epoch=1000)
        run.watch(model, optimizer)
        switch = Switch(run)
        loader = data.train_loader
        epoch, batches = 0, iter(())
        device = torch.device("cpu")
        reads = data.train.reads
        for number in range(chosen.warm_up + chosen.triples):
            reads_handed, held = reads.handed, []
            reads.handed = lambda *arguments, held=held: held.append(arguments)  # the three steps hand it out again
            batch = next(batches, None)
            if batch is None:
                loader.set_epoch(epoch)
                batches, epoch = iter(loader), epoch + 1
                batch = next(batches)
            reads.handed = reads_handed
            before = snapshot(model, optimizer)
            took: dict[str, tuple[float, float, dict[str, float]]] = {}
            for mode in random_order.sample(MODES, len(MODES)):
                restore(model, optimizer, before)
                torch.manual_seed(number)
                switch.set(mode)
                cpu, began = time.process_time(), time.perf_counter()
                reads.handed(*held[-1])
                train_one_epoch(model, optimizer, schedule, [batch], device=device)
                took[mode] = (time.perf_counter() - began, time.process_time() - cpu, dict(switch.spent))
            if number >= chosen.warm_up:
                for place, name in enumerate(noted):
                    noted[name].append({mode: values[place] for mode, values in took.items()})
        switch.set("full")
        sizes = digested(model, optimizer, batch)
    return noted | {"bytes": sizes, "config": config.model_dump(mode="json")}


def overrides(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Where the scenes are, and what was asked for on the command line."""
    made: dict[str, Any] = {"train": f"file://{folder / 'dataset'}", "validation": f"file://{folder / 'dataset'}", "seed": 3, "view": None}
    if chosen.config is None:
        made |= {"transform.width": chosen.width, "transform.height": chosen.height, "model.architecture": chosen.architecture}
        made |= {"batch_size": chosen.batch_size}
    return made


def snapshot(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], list[Any]]:
    """Weights, and the optimizer's momenta."""
    momenta = [{key: _kept(value) for key, value in state.items()} for state in optimizer.state.values()]
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, momenta


def _kept(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def restore(model: torch.nn.Module, optimizer: torch.optim.Optimizer, before: tuple[dict[str, Any], list[Any]]) -> None:
    """Put them back, into the same memory."""
    weights, momenta = before
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(weights[name])
        for state, old in zip(optimizer.state.values(), momenta, strict=False):
            for key, value in old.items():
                if isinstance(value, torch.Tensor):
                    state[key].copy_(value)
    if not momenta:
        optimizer.state.clear()


def digested(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> dict[str, int]:
    """Bytes that a full step digests."""
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        "input": sum(picture.nbytes for picture in batch[0]),
        "gradients": sum(parameter.nbytes for parameter in trained),
        "parameters": sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers())),
    }


# --- output -----------------------------------------------------------------------------------------------------------------


def summary(noted: dict[str, Any]) -> dict[str, Any]:
    """Costs as shares of a step without the log."""
    found: dict[str, Any] = {"bytes": noted["bytes"]}
    for clock in ("s", "cpu_s"):
        off = statistics.median(triple["off"] for triple in noted[clock])
        costs = [((triple["full"] - triple["off"]) / off, (triple["light"] - triple["off"]) / off) for triple in noted[clock]]
        found[clock] = {
            "step": off,
            "every=1": _with_interval(costs, lambda full, light: full),
            "light": _with_interval(costs, lambda full, light: light),
            "every=10": _with_interval(costs, lambda full, light: 0.1 * full + 0.9 * light),
        }
    off = found["s"]["step"]
    hooks: dict[str, Any] = {}
    for mode in ("full", "light"):
        hooks[mode] = {part: statistics.median(triple[mode].get(part, 0.0) for triple in noted["parts"]) for part in PARTS}
        hooks[mode]["all"] = statistics.median(sum(triple[mode].values()) for triple in noted["parts"])
    found["hooks_s"] = hooks
    found["hooks_share"] = {
        "every=1": hooks["full"]["all"] / off,
        "every=10": (0.1 * hooks["full"]["all"] + 0.9 * hooks["light"]["all"]) / off,
    }
    return found


def _with_interval(costs: Sequence[tuple[float, float]], joined: Callable[[float, float], float]) -> list[float]:
    """(estimate, low, high) from medians of both columns."""

    def estimate(chosen: Sequence[tuple[float, float]]) -> float:
        return joined(statistics.median(full for full, _ in chosen), statistics.median(light for _, light in chosen))

    draws = random.Random(13)
    again = sorted(estimate(draws.choices(costs, k=len(costs))) for _ in range(2000))
    return [estimate(costs), again[50], again[-50]]


def show(chosen: argparse.Namespace, found: dict[str, Any]) -> None:
    """Text."""
    what = chosen.config or f"{chosen.architecture} {chosen.width}x{chosen.height}, batch {chosen.batch_size}"
    megabytes = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in found["bytes"].items())
    print(f"{what}, {chosen.threads} threads, {chosen.triples} triples, load {os.getloadavg()[0]:.1f}; MB digested: {megabytes}")
    for clock, name in (("s", "wall"), ("cpu_s", "CPU")):
        item = found[clock]
        costs = []
        for mode in ("every=1", "every=10"):
            estimate, low, high = (100 * value for value in item[mode])
            costs.append(f"{mode} {estimate:+.2f} % ({low:+.2f} to {high:+.2f})")
        print(f"  {name:5} step {1e3 * item['step']:.0f} ms; paired: {'; '.join(costs)}")
    shares = "; ".join(f"{mode} {100 * share:.2f} %" for mode, share in found["hooks_share"].items())
    print(f"  in the hooks: {shares}")
    for mode, parts in found["hooks_s"].items():
        print(f"    {mode:6} " + ", ".join(f"{part} {1e3 * took:.2f} ms" for part, took in parts.items()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", help="of pipelines.detection, by name; instead of the next four")
    parser.add_argument("--architecture", default="fasterrcnn_mobilenet_v3_large_320_fpn")
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--triples", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=2, help="triples that are not counted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    chosen.json = chosen.json and chosen.json.absolute()
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        os.environ["LINEAGE_STORE"] = str(Path(temporary, "store"))
        repository(Path(temporary))
        stored_scenes(Path(temporary), 48)
        noted = measure(chosen, Path(temporary))
    found = summary(noted)
    show(chosen, found)
    if chosen.json:
        chosen.json.write_text(json.dumps(found | {"triples": noted["s"], "load": os.getloadavg(), "config": noted["config"]}, indent=1))


if __name__ == "__main__":
    main()
