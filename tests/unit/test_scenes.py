from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineage.errors import Conflict, UsageError
from pipelines.data.scenes import draw, recipes
from pipelines.data.scenes.annotate import annotate, painting_order
from pipelines.data.scenes.defects import DEFECTS
from pipelines.data.scenes.plan import plan_scene
from pipelines.data.scenes.scene import generate_scene
from pipelines.data.scenes.statistics import measure
from pipelines.data.scenes.write import write_scenes
from pipelines.data.visdrone import VisDroneImporter


def test_a_scene_depends_on_seed_and_index_alone() -> None:
    """The same (seed, index) gives the same pixels and rows, whatever was drawn before; another index or seed gives others."""
    first = generate_scene(7, 3)
    generate_scene(7, 9)
    again = generate_scene(7, 3)

    assert np.array_equal(first.image, again.image)
    assert first.rows == again.rows
    assert not np.array_equal(first.image, generate_scene(7, 4).image)
    assert not np.array_equal(first.image, generate_scene(8, 3).image)


@pytest.mark.parametrize("recipe", ["parking", "full"])
def test_rows_are_valid_boxes_inside_the_picture(recipe: str) -> None:
    """Every box lies inside the picture with both sides of at least 2 pixels; score is 0 exactly for ignored regions and others."""
    for index in range(12):
        plan = plan_scene(1, index, recipe)  # type: ignore[arg-type]
        for left, top, width, height, score, category, truncation, occlusion in annotate(plan):
            assert left >= 0
            assert top >= 0
            assert width >= 2
            assert height >= 2
            assert left + width <= plan.camera.width
            assert top + height <= plan.camera.height
            assert score == (0 if category in (0, 11) else 1)
            assert truncation in (0, 1)
            assert occlusion in (0, 1, 2)


@pytest.mark.parametrize("recipe", ["parking", "full"])
def test_a_box_is_the_bounds_of_the_pixels_that_are_drawn(recipe: recipes.Recipe) -> None:
    """Each body, painted alone on a blank picture, fills its box exactly, also where the border cuts it."""
    blank, cut = (255, 0, 254), 0
    for index in range(12):
        plan = plan_scene(3, index, recipe, (320, 256))
        painted = set()
        for actor in painting_order(plan):
            picture = np.full((plan.camera.height, plan.camera.width, 3), blank, dtype=np.uint8)
            draw._body(picture, plan, actor)
            changed = (picture != np.array(blank)).any(axis=2)
            if changed.any():
                x, y = np.flatnonzero(changed.any(axis=0)), np.flatnonzero(changed.any(axis=1))
                painted.add((int(x[0]), int(y[0]), int(x[-1] - x[0] + 1), int(y[-1] - y[0] + 1), actor.category))
        for left, top, width, height, _, category, truncation, _ in annotate(plan):
            cut += truncation
            assert category == 0 or (left, top, width, height, category) in painted
    assert cut > 0


def test_train_and_validation_share_no_sequence() -> None:
    """Sequences, the first field of a name, belong to one split only."""
    names = {split: {plan_scene(7, index, split=split).name.split("_")[0] for index in range(40)} for split in ("train", "validation")}  # type: ignore[arg-type]

    assert names["train"].isdisjoint(names["validation"])
    assert len(names["train"]) < 40


def test_the_parking_recipe_is_filtered_to_about_a_half() -> None:
    """The playbook's filter keeps between 40 and 65 % of small parking scenes."""
    kept = 0
    for index in range(60):
        rows = np.array(annotate(plan_scene(7, index)), dtype=int).reshape(-1, 8)
        cars = rows[rows[:, 5] == 4]
        kept += not ((cars[:, 2] < 20) | (cars[:, 3] < 20)).any()

    assert 0.40 <= kept / 60 <= 0.65


def test_a_written_data_set_is_whole_valid_and_reused(tmp_path: Path) -> None:
    """Files, manifest and importer agree; the same arguments again reuse it, others or a changed file are refused."""
    out = tmp_path / "scenes"
    made = write_scenes(out, train=4, validation=2, seed=3, size=(160, 120))

    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["pictures"]) == 6
    assert len(VisDroneImporter().scan(out / "train").samples) == 4
    assert VisDroneImporter().scan(out / "validation").problems == ()
    assert made.reused is False
    assert write_scenes(out, train=4, validation=2, seed=3, size=(160, 120)).reused is True
    with pytest.raises(Conflict, match="other scenes"):
        write_scenes(out, train=5, validation=2, seed=3, size=(160, 120))
    next((out / "train" / "annotations").iterdir()).write_text("1,2,3,4,1,4,0,0\n")
    with pytest.raises(Conflict):
        write_scenes(out, train=4, validation=2, seed=3, size=(160, 120))
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_all_defects_are_in_the_files_and_the_importer_takes_them(tmp_path: Path) -> None:
    """Each flaw is listed in the manifest, found in its file, and accepted by the importer with warnings where it gives any."""
    out = tmp_path / "scenes"
    write_scenes(out, train=len(DEFECTS), validation=0, seed=3, size=(320, 256), defects=["all"])

    manifest = json.loads((out / "manifest.json").read_text())
    where = {flaw["defect"]: item for item in manifest["pictures"] for flaw in item["defects"]}
    assert where.keys() == DEFECTS.keys()
    scan = VisDroneImporter().scan(out / "train")
    assert len(scan.samples) == len(DEFECTS)
    warned = {problem.path.stem for problem in scan.warnings}
    assert {where[name]["name"] for name in ("trailing-commas", "flat-car", "flat-ignored-region")} == warned
    rows = {name: (out / "train" / "annotations" / f"{item['name']}.txt").read_text().splitlines() for name, item in where.items()}
    assert len(rows["crowded"]) > 500
    assert len(set(rows["duplicate-row"])) < len(rows["duplicate-row"])
    assert not any(line.split(",")[5] == "4" for line in rows["no-car"])
    assert {line.split(",")[5] for line in rows["none-of-nine"]} <= {"0", "1", "2"}
    with Image.open(out / "train" / "images" / f"{where['grayscale']['name']}.jpg") as picture:
        assert picture.mode == "L"


@pytest.mark.parametrize(
    "arguments", [{"train": 0, "validation": 1}, {"train": 1, "validation": 0, "defects": ["all"]}, {"train": 1, "validation": -1}]
)
def test_impossible_requests_are_refused_before_anything_is_written(tmp_path: Path, arguments: dict[str, object]) -> None:
    """Numbers that cannot be met are usage errors and leave nothing behind."""
    with pytest.raises(UsageError):
        write_scenes(tmp_path / "scenes", **arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_statistics_are_near_the_official_ones() -> None:
    """Full-size scenes have about as many objects and small cars as the official ones (a few scenes, wide bands)."""
    judged = [item for item in measure(40) if item.accepted is not None]

    assert len(judged) > 10
    assert sum(bool(item.accepted) for item in judged) > 0.5 * len(judged)
