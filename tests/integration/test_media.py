"""What is logged beside numbers: with W&B as before and in our record too, within limits, and the same again in a reproduction."""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lineage
from lineage.adapters.trackers.wandb_log import WandbLog, read_log
from lineage.api.process import ports_of_process
from lineage.errors import NotFound, UsageError
from lineage.model.media import media_name, media_of, objects_of, read_sheet
from lineage.model.run import Run
from lineage.ports import BoxedPicture, Ports, ShownBox
from lineage.record import media
from lineage.record.live import LiveRun
from lineage.record.png import encode_png
from lineage.record.start import start_run
from lineage.reproduce.bundle import record_of
from lineage.reproduce.bundle_needs import expected_outputs
from lineage.reproduce.tidy import plan_tidying
from tests.support.commands import command, looked, looked_up
from tests.support.followed import only

SCRIPT = """
import sys
if len(sys.argv) > 1:
    import lineage
    lineage.autolog()
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import wandb

def main():
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    run = wandb.init(project="parking")
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(2 * 16, 3))
    wandb.watch(model, log="all", log_freq=2, log_graph=True)
    wandb.define_metric("loss", step_metric="epoch", summary="min,mean")
    wandb.define_metric("quiet/*", summary="none")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for epoch in range(4):
        loss = model(torch.randn(2, 1, 6, 6)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pixels = random.integers(0, 255, (20, 30, 3), dtype=np.uint8)
        share = {"position": {"minX": 0.1, "maxX": 0.5, "minY": 0.2, "maxY": 0.8}, "class_id": 1, "scores": {"acc": 0.75}}
        middle = {"position": {"middle": [10, 10], "width": 4, "height": 6}, "domain": "pixel", "class_id": 2, "box_caption": "mine"}
        boxes = {"predictions": {"box_data": [share, middle], "class_labels": {1: "car", 2: "bus"}}}
        mask = (np.arange(600).reshape(20, 30) // 300).astype(np.uint8)
        masks = {"truth": {"mask_data": mask, "class_labels": {0: "background", 1: "road"}}}
        image = wandb.Image(pixels, caption=f"epoch {epoch}", boxes=boxes, masks=masks)
        wandb.log({
            "loss": [3.0, 1.0, 2.0, 2.0][epoch],
            "epoch": epoch / 2,
            "quiet/x": 5,
            "Test/Result": image,
            "several": [wandb.Image(pixels), wandb.Image(pixels[:, ::-1])],
            "weights": wandb.Histogram(random.normal(size=50)),
        })
    rows = wandb.Table(columns=["name", "score", "picture"], data=[["a", 0.5, wandb.Image(pixels)], ["b", float("nan"), None]])
    curve = wandb.Table(columns=["x", "y"], data=[[1, 2], [2, 3]])
    figure = plt.figure()
    plt.plot([1, 2, 3])
    wandb.log({
        "rows": rows,
        "curve": wandb.plot.line(curve, "x", "y", title="Curve"),
        "page": wandb.Html("<b>bold</b>"),
        "points": wandb.Object3D(random.normal(size=(5, 3))),
        "figure": wandb.Image(figure),
        "nested": {"picture": wandb.Image(pixels)},
    })
    run.finish()

if __name__ == "__main__":
    main()
"""
MADE_UP = ("path", "filenames", "artifact_path", "_latest_artifact_path")
KEYS = ["Test/Result", "curve", "figure", "model", "nested.picture", "page", "points", "rows", "several", "watch", "weights"]


def sheets(run: Run, key: str) -> list[dict[str, Any]]:
    """Everything under a key, in order."""
    return [read_sheet(ports_of_process().objects.get_bytes(item.digest)) for item in media_of(run)[key]]


def picture(digest: str) -> Image.Image:
    return Image.open(io.BytesIO(ports_of_process().objects.get_bytes(digest)))


def told(folder: Path) -> list[dict[str, Any]]:
    """History of the only W&B run in a folder, without times and names that W&B makes up; of files what is in them."""
    (place,) = folder.glob("wandb/offline-run-*")
    log: WandbLog = read_log(next(place.glob("*.wandb")))
    return [{name: _without_names(value) for name, value in values.items() if not name.startswith("_")} for _, values in log.history]


def _without_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_names(item)
            for key, item in value.items()
            if key not in ("path", "filenames", "artifact_path", "_latest_artifact_path")
        }
    return [_without_names(item) for item in value] if isinstance(value, list) else value


def test_a_wandb_users_media_are_with_wandb_as_before_and_in_the_record(plain_code: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes, masks, tables, charts, histograms, the watched model; W&B got what it gets without us, and a reproduction is identical."""
    (plain_code.repository / "train.py").write_text(SCRIPT)
    monkeypatch.setenv("LINEAGE_SYSTEM_SECONDS", "0.2")
    alone = plain_code.folder.parent / "alone"
    alone.mkdir()
    status, said = plain_code.python("train.py", WANDB_DIR=str(alone))
    assert status == 0, said
    status, said = plain_code.python("train.py", "followed")
    assert status == 0, said
    assert told(plain_code.folder.parent / "wandb") == told(alone)

    run = only()
    assert run.notes == ()
    assert sorted(media_of(run)) == KEYS
    assert {item.kind for item in run.outputs} == {"media"}, "tables that W&B keeps as artifacts of its own are no outputs"
    assert run.outputs[0].name == "media/Test/Result/0.json"
    assert not any(run.trackers["wandb"]["id"] in item.name for item in run.outputs)
    result = sheets(run, "Test/Result")[3]
    (item,) = result["items"]
    assert result["classes"] == {"0": "background", "1": "road", "2": "bus"} | {"1": "road"}
    assert (item["caption"], item["width"], item["height"]) == ("epoch 3", 30, 20)
    assert [box["corners"] for box in item["boxes"]["predictions"]] == [[3.0, 4.0, 15.0, 16.0], [8.0, 7.0, 12.0, 13.0]]
    assert (item["boxes"]["predictions"][0]["score"], item["boxes"]["predictions"][1]["caption"]) == (0.75, "mine")
    assert np.asarray(picture(item["masks"]["truth"])).tolist() == [[0] * 30] * 10 + [[1] * 30] * 10
    left, right = (np.asarray(picture(one["picture"])) for one in sheets(run, "several")[0]["items"])
    assert left.shape == (20, 30, 3)
    assert (left[:, ::-1] == right).all()
    (rows,) = sheets(run, "rows")
    assert (rows["columns"], rows["rows"][0][:2], rows["rows"][1]) == (["name", "score", "picture"], ["a", 0.5], ["b", "nan", None])
    assert picture(rows["rows"][0][2]["picture"]).size == (30, 20)
    (curve,) = sheets(run, "curve")
    assert (curve["spec"], curve["rows"], curve["fields"]["x"]) == ("wandb/line/v0", [[1, 2], [2, 3]], "x")
    assert sum(sheets(run, "weights")[0]["counts"]) == 50
    watched = sheets(run, "watch")
    names = [f"{what}/{layer}.{part}" for what in ("gradients", "parameters") for layer in (0, 2) for part in ("bias", "weight")]
    assert [sorted(sheet["of"]) for sheet in watched] == [names] * 2
    assert sum(watched[0]["of"]["parameters/2.weight"]["counts"]) == 3 * 32
    (model,) = sheets(run, "model")
    assert [(layer["layer"], layer["parameters"]) for layer in model["layers"]] == [("Conv2d", 20), ("Flatten", 0), ("Linear", 99)]
    (page,) = sheets(run, "page")
    assert b"<b>bold</b>" in ports_of_process().objects.get_bytes(page["items"][0]["file"])

    assert run.axes == {"loss": "epoch"}
    assert {name: run.summary.get(name) for name in ("loss", "loss.min", "loss.mean", "quiet/x")} == {
        "loss": 2.0,
        "loss.min": 1.0,
        "loss.mean": 2.0,
        "quiet/x": None,
    }
    assert [point.values["loss"] for point in lineage.metrics(run.id)] == [3.0, 1.0, 2.0, 2.0]
    assert lineage.metrics(run.id, system=True)

    status, said = plain_code.python("-m", "lineage", "reproduce", run.id, "--yes", "--json")
    assert status == 0, said
    (reproduction,) = lineage.get(run.id).reproductions
    assert reproduction.verdict == "identical"
    again = lineage.get(reproduction.run_id)
    assert {item.name: item.digest for item in again.outputs} == {item.name: item.digest for item in run.outputs}
    assert lineage.metrics(again.id, system=True)
    said = looked(plain_code.repository, "show", run.id).stdout
    assert "Test/Result (pictures) 4 times, steps 0 to 3" in said
    assert "peak memory" in said


def test_media_of_ours_reach_the_server_as_wandbs_own(folder: Path, wandb_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``run.log_pictures``, ``log_table`` and ``log_histogram`` with the tracker: W&B's types there, sheets in the record."""
    (folder / "script.py").write_text(
        "import numpy as np\nimport lineage\nfrom lineage.ports import BoxedPicture, ShownBox\n"
        "with lineage.start_run(project='parking', trackers=('wandb',)) as run:\n"
        "    run.define_metric('loss', step_metric='epoch', summary='min')\n"
        "    run.log({'loss': 1.0, 'epoch': 3})\n"
        "    mask = np.ones((8, 9), np.uint8)\n"
        "    boxed = BoxedPicture(np.zeros((8, 9, 3), np.uint8), {'truth': [ShownBox((1, 2, 5, 6), 1)]}, 'a', {'road': mask})\n"
        "    run.log_pictures('shown', [boxed], {1: 'car'})\n"
        "    run.log_table('rows', ['a', 'b'], [[1, 'x'], [2.5, None]])\n"
        "    run.log_histogram('spread', np.arange(100))\n"
    )
    command(folder, sys.executable, "script.py", **wandb_server.variables)
    (found,) = looked_up(folder, "runs")
    monkeypatch.setenv("LINEAGE_STORE", str(folder / ".lineage"))
    run = lineage.get(found["id"])
    history: dict[str, Any] = {}
    for line in wandb_server.history(run.trackers["wandb"]["id"]):
        history |= line
    types = {name: history[name]["_type"] for name in ("shown", "rows", "spread")}
    assert types == {"shown": "images/separated", "rows": "table-file", "spread": "histogram"}
    assert list(media_of(run)) == ["rows", "shown", "spread"]
    assert [item.details["step"] for item in run.outputs] == [0, 0, 0]
    assert run.notes == ()


@pytest.fixture
def live(ports: Ports, tmp_path: Path) -> Iterator[LiveRun]:
    with pytest.warns(UserWarning, match="the code is not recorded"):
        run = start_run(ports, folder=tmp_path, command=["python", "show.py"])
    with run:
        yield run


def shown(live: LiveRun, key: str) -> list[dict[str, Any]]:
    return [read_sheet(live._ports.objects.get_bytes(item.digest)) for item in media_of(live.record)[key]]


def test_pictures_in_every_form_are_their_pixels(live: LiveRun, tmp_path: Path) -> None:
    """Arrays, files, bytes, Pillow's pictures; twice at one step is two sheets; a step is that of the last log unless given."""
    pixels = np.random.default_rng(1).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    forms = [
        pixels,
        pixels[..., 0],
        np.dstack([pixels, pixels[..., :1]]),
        pixels > 9,
        tmp_path / "a.png",
        (tmp_path / "a.png").read_bytes(),
    ]
    live.log({"loss": 1}, step=41)
    live.log_pictures("all", [*forms, Image.fromarray(pixels)])
    live.log_pictures("all", [pixels])
    live.log_pictures("all", [pixels], step=7)
    assert [item.name for item in media_of(live.record)["all"]] == ["media/all/7.json", "media/all/41.json", "media/all/41-2.json"]
    read = [np.asarray(Image.open(io.BytesIO(live._ports.objects.get_bytes(item["picture"])))) for item in shown(live, "all")[1]["items"]]
    expected = [pixels, pixels[..., 0], np.dstack([pixels, pixels[..., :1]]), (pixels > 9) * np.uint8(255), pixels, pixels, pixels]
    assert all((one == other).all() for one, other in zip(read, expected, strict=True))


def test_what_cannot_be_shown_is_refused_with_a_hint(live: LiveRun, tmp_path: Path) -> None:
    """Floats, wrong shapes, other bytes, a file that is not there, rows and edges that do not fit: nothing is kept of them."""
    (tmp_path / "a.txt").write_text("no picture")
    for wrong, error, words in (
        (np.zeros((4, 4, 3)), UsageError, "uint8 of shape"),
        (np.zeros((4, 4, 2), np.uint8), UsageError, "shape \\(4, 4, 2\\)"),
        (np.zeros((0, 4, 3), np.uint8), UsageError, "shape \\(0, 4, 3\\)"),
        (tmp_path / "a.txt", UsageError, "PNG or JPEG"),
        (tmp_path / "none.png", NotFound, "none.png"),
        (None, UsageError, "found object"),
    ):
        with pytest.raises(error, match=words):
            live.log_pictures("wrong", [wrong])
    with pytest.raises(UsageError, match="row 1: expected 2 cells, found 1"):
        live.log_table("wrong", ["a", "b"], [[1, 2], [3]])
    with pytest.raises(UsageError, match="at least one finite"):
        live.log_histogram("wrong", [np.nan])
    with pytest.raises(UsageError, match="expected 2 edges of 1 bins, found 3"):
        live.log_histogram("wrong", ([1], [0, 1, 2]))
    with pytest.raises(UsageError, match="a summary has no 'best'"):
        live.define_metric("loss", summary="best")
    assert live.record.outputs == ()
    assert len(live.record.notes) == 1, "the one about the code"


def test_what_is_over_a_limit_is_said_once_and_the_rest_stays(live: LiveRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many sheets, too many bytes, one file too large, a long table; secrets do not get into sheets."""
    pixels = np.zeros((5, 7, 3), np.uint8)
    monkeypatch.setattr(media, "LARGEST_BYTES", 1000)
    large = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    with pytest.warns(UserWarning, match="pictures and files of more than"):
        live.log_pictures("large", [large])
    live.log_pictures("large", [large])  # a second warning would be an error
    monkeypatch.setattr(media, "LARGEST_BYTES", 64 << 20)
    live.log_table("long", ["n"], [[n] for n in range(10_500)])
    live.log_table("secret", ["said"], [["password=hunter22 and more"]])
    live.log_pictures("many", [pixels], step=0)
    monkeypatch.setattr(media, "MOST_SHEETS", 3)
    with pytest.warns(UserWarning, match="media beyond 3 of a run"):
        live.log_pictures("many", [pixels], step=1)
    live.log_pictures("many", [pixels], step=2)
    assert list(media_of(live.record)) == ["long", "many", "secret"]
    (long,) = shown(live, "long")
    assert (len(long["rows"]), long["rows_total"]) == (10_000, 10_500)
    assert "hunter22" not in json.dumps(shown(live, "secret"))
    assert len(live.record.notes) == 3  # with the one about the code
    assert "media beyond 3 of a run" in live.record.notes[-1]


def test_names_lead_nowhere_and_pictures_do_not_depend_on_a_library() -> None:
    """A key may be any text; the same pixels are the same bytes, written by this project."""
    assert media_name("../../etc/passwd", 3) == "media/etc/passwd/3.json"
    assert media_name("a\n//b\x00:", 0, 1) == "media/a_/b_/0-2.json"
    assert media_name("", -1) == "media/_/-1.json"
    encoded = encode_png(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    body = zlib.compress(bytes([0, *range(6), 0, *range(6, 12)]), 6)
    assert encoded[33:41] == struct.pack(">I", len(body)) + b"IDAT"
    assert encoded[41 : 41 + len(body)] == body


def test_pictures_belong_to_the_record(live: LiveRun) -> None:
    """`lineage verify` wants them, a bundle counts them as what the run made, and tidying leaves them; any key can be kept."""
    live.log_pictures("password=hunter22 \udcff" + "x" * 2000, [np.zeros((3, 3, 3), np.uint8)])
    (item,) = live.record.outputs
    (digest,) = objects_of(item)
    ports, run = live._ports, live.finish()
    assert "hunter22" not in item.model_dump_json()
    assert {digest, item.digest} <= expected_outputs(ports, run)
    assert record_of(ports, run).made() == {digest: False, item.digest: False}
    assert digest not in dict(plan_tidying(ports).unneeded)


def test_boxes_of_any_kind_are_plain(live: LiveRun) -> None:
    """NumPy's numbers in boxes and classes become JSON's own."""
    box = ShownBox((np.float32(1.5), np.int64(2), 3, np.inf), np.int64(1), np.float32(0.5))  # type: ignore[arg-type]  # as programs do
    live.log_pictures("boxed", [BoxedPicture(np.zeros((4, 4, 3), np.uint8), {"p": [box]})], {np.int64(1): "car"})  # type: ignore[dict-item]
    (sheet,) = shown(live, "boxed")
    assert sheet["items"][0]["boxes"]["p"] == [{"corners": [1.5, 2, 3, "inf"], "label": 1, "score": 0.5}]
    assert sheet["classes"] == {"1": "car"}
