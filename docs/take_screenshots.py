"""Takes the pictures of the service's pages in docs/pictures: ``python docs/take_screenshots.py [NAME…]``.

They show a store that is made for it (``tests/support/filled_store.py``). Those of a job show a real one: a script that is recorded, the
button of its page, and ``lineage worker``. Needs Chromium on the PATH and the extra ``dev``.
"""

from __future__ import annotations

import io
import math
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from lineage.model.run import Run
    from lineage.ports import Ports
    from tests.support.filled_store import Filled

OUT = ROOT / "docs" / "pictures"
MOST_BYTES = 150_000
WIDE, TALL, PHONE = (1280, 860), (1280, 960), (390, 844)
SWEEP = "k3x9a2mf"


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture.

    Attributes:
        name: Of its file, without the ending.
        path: Address of the page, from what is in the store.
        size: Of the window, in pixels.
        act: What is done before the picture is taken.
    """

    name: str
    path: Callable[[Filled], str]
    size: tuple[int, int] = WIDE
    act: Callable[[Page], object] = lambda page: None


def _drawn(page: Page) -> None:
    page.locator("#results").evaluate("element => element.scrollIntoView()")
    page.get_by_label("Lay over").check()
    page.get_by_label("Smooth").fill("0.8")
    page.locator("figure.drawn .u-label").nth(4).wait_for()
    page.wait_for_timeout(500)


def _with_pictures(page: Page) -> None:
    page.locator("#data").evaluate("element => element.scrollIntoView()")
    page.locator("[data-pictures] figure.picture image").first.wait_for()
    page.wait_for_load_state("networkidle")


def _compare(filled: Filled) -> str:
    chosen = ("rate-0.02-seed-7", "again-elsewhere", "rate-0.005-seed-7")
    return "/compare?" + "&".join(f"run={filled.ids[word]}" for word in chosen)


def _curves_drawn(page: Page) -> None:
    page.get_by_role("heading", name="Results", exact=True).evaluate("element => element.scrollIntoView()")
    page.locator("figure.drawn canvas").nth(2).wait_for()
    page.wait_for_timeout(500)


def _fitted(page: Page) -> None:
    page.get_by_role("button", name="Fit into the box").click()


def _whole_picture(page: Page) -> None:
    page.wait_for_load_state("networkidle")
    page.locator("figure.large").evaluate("element => element.scrollIntoView()")


def _at_the_drawing(page: Page) -> None:
    page.locator("#parameters").evaluate("element => element.scrollIntoView()")


def _asked(page: Page) -> None:
    place = page.locator('figure.drawn[data-metric="val_accuracy"] .u-over').bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + place["width"] * 0.62, place["y"] + 60)
    page.wait_for_timeout(500)


def _at_media(page: Page) -> None:
    page.locator("article.sheet", has=page.get_by_role("heading", name="predictions", exact=True)).evaluate(
        "element => element.scrollIntoView()"
    )
    page.wait_for_load_state("networkidle")


SHOTS = [
    Shot("runs", lambda _: "/runs?job_type=train", act=lambda page: page.locator("tbody input").nth(4).check()),
    Shot("groups", lambda _: "/runs?job_type=train&by=config:optimizer.learning_rate&column=metric:validation_AP&column=metric:loss"),
    Shot("group", lambda _: "/groups/ECA?project=attention&with=SE&with=none&metric=val_accuracy&metric=val_loss", act=_asked),
    Shot("run", lambda filled: f"/runs/{filled.ids['rate-0.02-seed-7']}"),
    Shot("run-data", lambda filled: f"/runs/{filled.ids['rate-0.02-seed-7']}", act=_with_pictures),
    Shot("run-curves", lambda filled: f"/runs/{filled.ids['rate-0.02-seed-7']}", act=_drawn),
    Shot("run-media", lambda filled: f"/runs/{filled.ids['drives']}", act=_at_media),
    Shot("comparison", _compare, act=_curves_drawn),
    Shot("graph", lambda filled: f"/runs/{filled.ids['rate-0.02-seed-7']}/lineage", act=_fitted),
    Shot("graph-phone", lambda filled: f"/runs/{filled.ids['tuned']}/lineage", PHONE),
    Shot("dataset", lambda filled: f"/datasets/{filled.dataset_id}"),
    Shot("picture", lambda filled: f"/pictures/{filled.picture}", act=_whole_picture),
    Shot("sweep", lambda _: f"/sweeps/{SWEEP}", TALL, act=_at_the_drawing),
    Shot("phone", lambda filled: f"/runs/{filled.ids['rate-0.02-seed-7']}", PHONE),
]


JOB_SHOTS = ("job", "job-ended")
FIT = """
import json
import random
import time

import lineage

with lineage.start_run(project="lines", job_type="train", config={"rate": 0.1, "steps": 60}, seed=7) as run:
    numbers = random.Random(run.record.seed)
    points = [(x / 50, 3 * x / 50 - 1 + numbers.gauss(0, 0.1)) for x in range(100)]
    slope, offset = 0.0, 0.0
    for step in range(60):
        errors = [(x, slope * x + offset - y) for x, y in points]
        loss = sum(error**2 for _, error in errors) / len(errors)
        slope -= 0.2 * sum(error * x for x, error in errors) / len(errors)
        offset -= 0.2 * sum(error for _, error in errors) / len(errors)
        run.log({"loss": loss, "slope": slope}, step=step)
        print(f"step {step:2}  loss {loss:.6f}  slope {slope:.4f}", flush=True)
        time.sleep(0.2)
    with open("line.json", "w") as file:
        json.dump([slope, offset], file)
    run.log_artifact("line.json", kind="model")
"""


def main(names: Sequence[str]) -> int:
    """Take the pictures, all of them or those that are named."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        print("Chromium is not on the PATH", file=sys.stderr)
        return 1
    OUT.mkdir(exist_ok=True)
    wanted = names or [*(shot.name for shot in SHOTS), *JOB_SHOTS]
    with tempfile.TemporaryDirectory(prefix="lineage-") as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        if any(shot.name in wanted for shot in SHOTS):
            _take_of_filled_store(browser, Path(folder) / "team", wanted)
        if any(name in wanted for name in JOB_SHOTS):
            _take_of_job(browser, Path(folder) / "job", wanted)
        browser.close()
    return 0


def _take_of_filled_store(browser: Browser, folder: Path, wanted: Collection[str]) -> None:
    from lineage.wiring_jobs import job_queue
    from service.app import create_app
    from tests.support.filled_store import fill
    from tests.support.serving import serving
    from tests.support.shown_media import drives
    from tests.support.sweeps import write_sweep

    filled = fill(folder, pictures=36, size=(480, 360))
    ports, jobs = filled.ports(), job_queue(filled.settings)
    write_sweep(ports, SWEEP, 60, states={11: "stopped", 23: "failed"})
    filled = replace(filled, ids={**filled.ids, "drives": drives(ports, folder / "parking").id})
    _add_groups(ports, ports.runs.get(filled.ids["rate-0.02-seed-7"]))
    with serving(create_app(ports, jobs=jobs)) as address:
        for shot in SHOTS:
            if shot.name in wanted:
                page = browser.new_page(viewport={"width": shot.size[0], "height": shot.size[1]})
                page.goto(address + shot.path(filled))
                shot.act(page)
                _take(page, shot.name)
                page.close()
    jobs.close()
    ports.runs.close()


def _add_groups(ports: Ports, known: Run) -> None:
    """Three variants of a network, five seeds each."""
    from lineage.model.event import Ended, Started
    from lineage.model.run import MetricPoint, RunState

    bare: dict[str, Any] = {"inputs": (), "outputs": (), "summary": {}, "reproductions": (), "state": RunState.running, "ended_at": None}
    for name, best in (("ECA", 0.78), ("SE", 0.74), ("none", 0.71)):
        for seed in range(1, 6):
            noise = random.Random(f"{name} {seed}")
            own = {"id": noise.randbytes(16).hex(), "name": f"resnet-{name}-{seed}", "group": name, "project": "attention", "seed": seed}
            run = known.model_copy(update=bare | own | {"config": {"attention": name, "seed": seed, "epochs": 40}})
            ports.runs.append(run.id, Started(at=run.started_at, run=run))
            points = []
            for epoch in range(40):
                risen = 1 - math.exp(-(epoch + 1) / 7)
                values = {
                    "val_accuracy": best * risen + noise.gauss(0, 0.02 / (1 + epoch / 20)),
                    "val_loss": 2.3 - (1.2 + best) * risen + noise.gauss(0, 0.06),
                }
                points.append(MetricPoint(step=epoch, values=values, at=run.started_at.timestamp() + 30 * epoch))
            ports.runs.add_metrics(run.id, points)
            end = Ended(
                at=run.started_at + timedelta(minutes=20),
                state=RunState.finished,
                summary=points[-1].values,
                metrics_digest=ports.runs.metrics_digest(run.id),
            )
            ports.runs.append(run.id, end)


def _take_of_job(browser: Browser, folder: Path, wanted: Collection[str]) -> None:
    """A run that is really recorded, asked for with the button, and run again by a worker in a process of its own."""
    from service.app import create_app
    from tests.support.jobs import team_in
    from tests.support.serving import serving

    with team_in(folder) as team:
        (team.repository / "fit.py").write_text(FIT)
        original = team.record("fit.py")
        worker = team.process()
        try:
            with serving(create_app(team.ports, jobs=team.queue)) as address:
                page = browser.new_page(viewport={"width": TALL[0], "height": TALL[1]})
                page.set_default_timeout(90_000)
                page.goto(f"{address}/runs/{original}")
                page.get_by_role("button", name="Run it again and compare").click()
                page.locator(".log").filter(has_text="step 35").wait_for()
                if "job" in wanted:
                    _take(page, "job")
                page.locator("h1 .badge.identical").wait_for()
                if "job-ended" in wanted:
                    _take(page, "job-ended")
                page.close()
        finally:
            worker.terminate()
            worker.communicate(timeout=60)


def _take(page: Page, name: str) -> None:
    written = _write(OUT / f"{name}.png", page.screenshot())
    print(f"{name}: {written} bytes{', too many' if written > MOST_BYTES else ''}")


def _write(file: Path, picture: bytes) -> int:
    """Write it with a palette of as many colours as fit, which is a third of its size or less."""
    from PIL import Image

    colours = 256
    while True:
        reduced = Image.open(io.BytesIO(picture)).convert("RGB").quantize(colours, kmeans=3)
        reduced.save(file, optimize=True)
        if file.stat().st_size <= MOST_BYTES or colours <= 32:
            break
        colours //= 2
    return file.stat().st_size


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
