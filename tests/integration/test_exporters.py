"""The exporters on real pictures and folders, read back with the tools that people use."""

from __future__ import annotations

import json
import tracemalloc
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
import yaml
from PIL import Image

from lineage.adapters.datasets.deeplake import DeepLakeBackend
from lineage.errors import InvalidSource, UsageError
from lineage.model.source import Column
from lineage.wiring import exporter
from pipelines.data.export.rows import write_new
from pipelines.data.visdrone import COLUMNS, VisDroneImporter
from pipelines.data.visdrone_format import CLASS_NAMES

LAYOUTS = ("coco", "visdrone", "yolo")
BY_NAME = {column.name: column for column in COLUMNS}
FOREIGN = {
    "photo": Column("photo", "image"),
    "bboxes": Column("bboxes", "array"),
    "category": Column("category", "class_labels", class_names=("cat", "dog")),
}
Row = dict[str, Any]


def picture(seed: int = 0, *, form: str = "JPEG", size: tuple[int, int] = (64, 48), turned: bool = False) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, form, exif=exif)
    return buffer.getvalue()


def visdrone_row(stem: str, objects: list[tuple[int, ...]], content: bytes | None = None) -> Row:
    """Objects are left, top, width, height, score, class, truncation, occlusion."""
    table = np.array(objects, dtype=np.int64).reshape(-1, 8)
    return {
        "images": content or picture(len(stem)),
        "boxes": table[:, :4].astype(np.float32),
        "labels": table[:, 5].astype(np.uint32),
        "truncation": table[:, 6].astype(np.int32),
        "occlusion": table[:, 7].astype(np.int32),
        "score": table[:, 4].astype(np.int32),
        "filename": f"{stem}.jpg",
        "sample_id": stem,
        "sequence": stem.partition("_")[0],
    }


def foreign_row(boxes: Any, labels: Any, content: bytes | None = None, **more: Any) -> Row:
    return {"photo": content or picture(), "bboxes": np.array(boxes, np.float32), "category": np.array(labels, np.int32), **more}


STREET = [
    visdrone_row("0000001_00001_d_0000001", [(1, 2, 30, 25, 1, 4, 0, 1), (0, 0, 20, 10, 0, 0, 0, 0), (3, 3, 0, 9, 1, 1, 0, 2)]),
    visdrone_row("0000001_00002_d_0000002", []),
    visdrone_row("0000002_00001_d_0000003", [(44, 28, 20, 20, 0, 11, 1, 0), (10, 10, 12, 14, 1, 10, 0, 0)]),
]


def export(layout: str, folder: Path, rows: list[Row], columns: Mapping[str, Column] = BY_NAME) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return exporter(layout).write(folder, iter(rows), columns, total=len(rows))


def note(folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((folder / "export.json").read_bytes())
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- all layouts ----------------------------------------------------------------------------------------------------------


def test_layouts_are_found_by_name() -> None:
    """Entry points lead to the three exporters; an unknown name is a usage error that lists them."""
    assert [exporter(name).name for name in LAYOUTS] == list(LAYOUTS)
    with pytest.raises(UsageError, match="no exporter 'voc'") as caught:
        exporter("voc")
    assert caught.value.hint == "known: coco, visdrone, yolo"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_are_byte_for_byte_in_order_and_the_same_rows_give_the_same_files(layout: str, tmp_path: Path) -> None:
    """The returned files hold the rows' bytes; a second export is equal in every byte, and nothing else is in the folder."""
    told: list[tuple[int, int]] = []
    (tmp_path / "a").mkdir()
    paths = exporter(layout).write(tmp_path / "a", iter(STREET), BY_NAME, total=3, progress=lambda done, total: told.append((done, total)))
    export(layout, tmp_path / "b", STREET)

    assert [path.read_bytes() for path in paths] == [row["images"] for row in STREET]
    assert [path.name for path in paths] == [row["filename"] for row in STREET]
    assert {path.parent for path in paths} == {tmp_path / "a" / "images"}
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    beside = {"coco": {"annotations.json"}, "visdrone": {"annotations"}, "yolo": {"labels", "data.yaml"}}[layout]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"images", "export.json"} | beside


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_rows_make_an_empty_but_whole_folder(layout: str, tmp_path: Path) -> None:
    """An empty view has a valid folder."""
    assert export(layout, tmp_path, []) == []
    assert note(tmp_path)["rows"] == 0
    if layout == "coco":
        said = json.loads((tmp_path / "annotations.json").read_bytes())
        assert (said["images"], said["annotations"]) == ([], [])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_dataset_with_other_columns_is_exported_from_deep_lake(layout: str, tmp_path: Path) -> None:
    """Only a picture, boxes and classes under names of its own: columns are found by kind, files are numbered."""
    uri = str(tmp_path / "ds")
    dataset = deeplake.create(uri)
    dataset.add_column("photo", deeplake.types.Image(sample_compression="jpeg"))
    dataset.add_column("bboxes", deeplake.types.Array("float32", 2))
    dataset.add_column("category", deeplake.types.ClassLabel(deeplake.types.Array("uint32", 1)))
    dataset["category"].metadata["class_names"] = ["cat", "dog"]
    shots = [picture(1), picture(2)]
    boxes = [np.array([[1, 2, 3.5, 4]], np.float32), np.zeros((0, 4), np.float32)]
    dataset.append({"photo": shots, "bboxes": boxes, "category": [np.array([1], np.uint32), np.zeros(0, np.uint32)]})
    dataset.commit("all")
    reader = DeepLakeBackend().open(uri, "main", dataset.version)
    values = reader.read([0, 1])
    rows = [{name: column[i] for name, column in values.items()} for i in range(2)]

    paths = export(layout, tmp_path / "out", rows, reader.columns)

    assert [path.name for path in paths] == ["row-0000000.jpg", "row-0000001.jpg"]
    assert [path.read_bytes() for path in paths] == shots
    if layout == "visdrone":
        assert (tmp_path / "out/annotations/row-0000000.txt").read_text() == "1,2,3.5,4,1,1,0,0\n"
        assert (tmp_path / "out/annotations/row-0000001.txt").read_text() == ""
        said = note(tmp_path / "out")
        assert said["assumed"] == {"score": 1, "truncation": 0, "occlusion": 0}
        assert (said["class_names"], said["has_visdrone_classes"]) == (["cat", "dog"], False)
        assert said["counts"]["boxes_with_fractions"] == 1
    elif layout == "coco":
        said = json.loads((tmp_path / "out/annotations.json").read_bytes())
        assert [(category["id"], category["name"]) for category in said["categories"]] == [(1, "cat"), (2, "dog")]
        assert [(item["bbox"], item["area"], item["category_id"]) for item in said["annotations"]] == [([1, 2, 3.5, 4], 14.0, 2)]
    else:
        assert yaml.safe_load((tmp_path / "out/data.yaml").read_bytes())["names"] == {0: "cat", 1: "dog"}
        assert (tmp_path / "out/labels/row-0000000.txt").read_text() == "1 0.04296875 0.0833333333 0.0546875 0.0833333333\n"


BAD_COLUMNS: list[tuple[dict[str, Column], str]] = [
    ({"a": Column("a", "text")}, "expected a column of pictures, found a (text)"),
    ({}, "expected a column of pictures, found no column"),
    ({**FOREIGN, "depth": Column("depth", "image")}, "found 2 that fit: photo, depth"),
    ({key: value for key, value in FOREIGN.items() if key != "bboxes"}, "expected an array column named boxes with two dimensions"),
    ({**FOREIGN, "bboxes": Column("bboxes", "array", dtype="float32", ndim=1)}, "expected an array column named boxes with two dimensions"),
    ({**FOREIGN, "head_boxes": Column("head_boxes", "array")}, "found 2 that fit: bboxes, head_boxes"),
    ({key: value for key, value in FOREIGN.items() if key != "category"}, "expected a column of class labels"),
    ({**FOREIGN, "colour": Column("colour", "class_labels")}, "found 2 that fit: category, colour"),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("columns", "says"), BAD_COLUMNS)
def test_columns_that_are_missing_or_unclear_are_named(layout: str, columns: dict[str, Column], says: str, tmp_path: Path) -> None:
    """Nothing is guessed: the error says what the layout needs and what there is, before a file is written."""
    with pytest.raises(InvalidSource) as caught:
        export(layout, tmp_path, [], columns)

    assert f"layout {layout}: " in caught.value.message
    assert says in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_the_usual_name_decides_between_columns_of_one_kind(tmp_path: Path) -> None:
    """With ``images``, ``boxes`` and ``labels`` there, others of their kind are left out, and the note names them."""
    more = {"mask": Column("mask", "image"), "head_boxes": Column("head_boxes", "array"), "weather": Column("weather", "class_labels")}

    export("coco", tmp_path, STREET, {**more, **BY_NAME})

    assert note(tmp_path)["columns"] == {"picture": "images", "boxes": "boxes", "labels": "labels"}
    assert note(tmp_path)["columns_left_out"] == ["head_boxes", "mask", "weather"]


BAD_ROWS: list[tuple[Row, str]] = [
    (foreign_row([[1, 2, 3, np.nan]], [0]), "expected finite numbers in column 'bboxes', found nan"),
    (foreign_row([[1, 2, np.inf, 3]], [0]), "expected finite numbers in column 'bboxes', found inf"),
    (foreign_row([[1, 2, 3e30, 3]], [0]), "expected pixels of -1073741824 to 1073741824 in column 'bboxes'"),
    (foreign_row([[1, 2, 3]], [0]), "expected boxes of shape (n, 4) in column 'bboxes', found (1, 3)"),
    (foreign_row([[1, 2, 3, 4]], [0, 1]), "expected one value for each of 1 boxes in column 'category', found shape (2,)"),
    (foreign_row([[1, 2, 3, 4]], 0), "expected one value for each of 1 boxes in column 'category', found shape ()"),
    (foreign_row([[1, 2, 3, 4]], [2]), "expected class indices of 0 to 1 in column 'category', found 2"),
    (foreign_row([[1, 2, 3, 4]], [-1]), "expected class indices of 0 to 1 in column 'category', found -1"),
    ({**foreign_row([[1, 2, 3, 4]], [0]), "category": np.array([0.5])}, "expected class indices in column 'category', found float64"),
    ({**foreign_row([[1, 2, 3, 4]], [0]), "category": ["cat"]}, "expected numbers in column 'category', found list"),
    ({**foreign_row([[1, 2, 3, 4]], [0]), "bboxes": None}, "expected numbers in column 'bboxes', found nothing"),
    ({"photo": picture()}, "expected numbers in column 'bboxes', found nothing"),
    (foreign_row([], [], b"GIF89"), "column 'photo': expected an encoded picture, found bytes 47 49 46 38"),
    (foreign_row([], [], b"no"), "column 'photo': expected an encoded picture, found bytes 6e 6f"),
    (
        {**foreign_row([], []), "photo": np.zeros((4, 4, 3), np.uint8)},
        "expected an encoded picture in column 'photo', found an array of uint8",
    ),
    ({**foreign_row([], []), "photo": None}, "expected an encoded picture in column 'photo', found nothing"),
    (foreign_row([], [], picture(form="PPM")), "expected a picture in one of JPEG, PNG, GIF, BMP, WEBP, TIFF, JPEG2000, found PPM"),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("row", "says"), BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_an_impossible_row_is_named(layout: str, row: Row, says: str, tmp_path: Path) -> None:
    """The error gives the row's position, its sample, the column, what was expected and what was found."""
    columns = {**FOREIGN, "sample_id": Column("sample_id", "text")}
    rows = [foreign_row([], [], sample_id="good"), {**row, "sample_id": "bad"}]

    with pytest.raises(InvalidSource) as caught:
        export(layout, tmp_path, rows, columns)

    assert caught.value.message.startswith("row 1 (sample 'bad')")
    assert says in caught.value.message


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_rows_that_want_one_file_are_named_both(layout: str, tmp_path: Path) -> None:
    """No picture is overwritten; both samples are in the message."""
    rows = [STREET[0], STREET[1], {**STREET[2], "filename": STREET[0]["filename"]}]

    with pytest.raises(InvalidSource) as caught:
        export(layout, tmp_path, rows)

    assert caught.value.message == (
        "row 0 (sample '0000001_00001_d_0000001') and row 2 (sample '0000002_00001_d_0000003') "
        "want the same file images/0000001_00001_d_0000001.jpg"
    )
    assert (tmp_path / "images" / STREET[0]["filename"]).read_bytes() == STREET[0]["images"]


def test_names_that_differ_in_their_ending_only_share_a_label_file(tmp_path: Path) -> None:
    """YOLO has one label file for both, so they are refused; COCO names whole files, so they are fine."""
    columns = {**FOREIGN, "filename": Column("filename", "text")}
    rows = [foreign_row([], [], picture(), filename="a.jpg"), foreign_row([], [], picture(form="PNG"), filename="a.png")]

    assert [path.name for path in export("coco", tmp_path / "coco", rows, columns)] == ["a.jpg", "a.png"]
    with pytest.raises(InvalidSource, match=r"row 0 \(sample 'a.jpg'\) and row 1 \(sample 'a.png'\) want the same file images/a.png"):
        export("yolo", tmp_path / "yolo", rows, columns)


def test_no_file_is_written_over_another(tmp_path: Path) -> None:
    """A name that the file system takes for another's is an error of the row, and the first file stays."""
    write_new(tmp_path / "a.txt", b"first", "row 0")

    with pytest.raises(InvalidSource, match="an earlier row and row 1 want the same file"):
        write_new(tmp_path / "a.txt", b"second", "row 1")
    assert (tmp_path / "a.txt").read_bytes() == b"first"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "name", ["../../x.jpg", "/tmp/x.jpg", "a/b.jpg", "a\0b.jpg", "", "..", "n" * 4000 + ".jpg", "\ud800.jpg", "..\\..\\x.jpg"]
)
def test_no_name_leads_out_of_the_folder(layout: str, name: str, tmp_path: Path) -> None:
    """Names from a dataset are made safe, and the note counts them."""
    (path,) = export(layout, tmp_path / "deep" / "out", [{**STREET[0], "filename": name}])

    assert path.parent == tmp_path / "deep" / "out" / "images"
    assert path.read_bytes() == STREET[0]["images"]
    assert [item.name for item in (tmp_path / "deep").iterdir()] == ["out"]
    assert note(tmp_path / "deep" / "out")["counts"]["names_changed"] == (1 if name else 0)


@pytest.mark.parametrize("layout", ["coco", "yolo"])
@pytest.mark.parametrize(("form", "ending"), [("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tif"), ("BMP", ".bmp"), ("GIF", ".gif")])
def test_a_files_ending_is_that_of_its_bytes(layout: str, form: str, ending: str, tmp_path: Path) -> None:
    """Whatever the dataset calls it."""
    (path,) = export(layout, tmp_path, [{**STREET[0], "images": picture(form=form)}])

    assert path.name == STREET[0]["sample_id"] + ending
    assert path.read_bytes() == picture(form=form)


def test_visdrone_pictures_are_jpeg_or_the_row_is_refused(tmp_path: Path) -> None:
    """Nothing is encoded anew; the other layouts are suggested."""
    with pytest.raises(InvalidSource, match="pictures in layout visdrone are JPEG, found PNG") as caught:
        export("visdrone", tmp_path, [{**STREET[0], "images": picture(form="PNG")}])
    assert "coco and yolo" in str(caught.value.hint)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_are_not_held_in_memory(layout: str, tmp_path: Path) -> None:
    """150 pictures of 400 KB pass through in less than the room of ten."""
    content = picture() + bytes(400_000)

    def rows() -> Iterator[Row]:
        for number in range(150):
            yield {**STREET[0], "images": content + number.to_bytes(2, "big"), "filename": f"{number}.jpg"}

    export(layout, tmp_path / "warm", STREET)
    (tmp_path / "out").mkdir()
    tracemalloc.start()
    try:
        exporter(layout).write(tmp_path / "out", rows(), BY_NAME, total=150)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 10 * len(content)


# --- VisDrone -------------------------------------------------------------------------------------------------------------


def test_real_annotation_files_come_back_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    """The official files that have pictures beside the repository: imported, exported, equal."""
    with zipfile.ZipFile(shared_data / "visdrone_public.zip") as archive:
        names = [name for name in archive.namelist() if name.startswith("pairs/") and not name.endswith("/")]
        archive.extractall(tmp_path, names)
    importer = VisDroneImporter()
    rows = [importer.read(sample) for sample in importer.scan(tmp_path / "pairs").samples]

    export("visdrone", tmp_path / "out", rows)

    made = contents(tmp_path / "out")
    made.pop("export.json")
    assert len(rows) == 6
    assert made == contents(tmp_path / "pairs")


# --- COCO -----------------------------------------------------------------------------------------------------------------


def test_pycocotools_reads_every_box(tmp_path: Path) -> None:
    """COCO() indexes the file; boxes, classes, sizes and attributes are the rows'; ignored regions are a crowd of category 0."""
    from pycocotools.coco import COCO

    paths = export("coco", tmp_path, STREET)
    coco = COCO(str(tmp_path / "annotations.json"))

    assert [coco.loadCats(number)[0]["name"] for number in coco.getCatIds()] == list(CLASS_NAMES)
    assert coco.getImgIds() == [1, 2, 3]
    for number, (path, row) in enumerate(zip(paths, STREET, strict=True), 1):
        (about,) = coco.loadImgs(number)
        assert (about["width"], about["height"]) == (64, 48)
        assert (about["file_name"], about["sample_id"], about["sequence"]) == (path.name, row["sample_id"], row["sequence"])
        items = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        assert [item["bbox"] for item in items] == row["boxes"].tolist()
        assert [item["category_id"] for item in items] == row["labels"].tolist()
        assert [item["area"] for item in items] == (row["boxes"][:, 2] * row["boxes"][:, 3]).tolist()
        assert [item["iscrowd"] for item in items] == (row["labels"] == 0).astype(int).tolist()
        for name in ("truncation", "occlusion", "score"):
            assert [item[name] for item in items] == row[name].tolist()


def test_ignored_regions_do_not_weigh_in_an_evaluation(tmp_path: Path) -> None:
    """Perfect detections of the real classes, none of the ignored regions, are worth 1 on average."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = [visdrone_row("a", [(1, 2, 30, 25, 1, 4, 0, 1), (0, 0, 20, 10, 0, 0, 0, 0), (5, 30, 10, 9, 1, 1, 0, 2)])]
    export("coco", tmp_path, rows)
    truth = COCO(str(tmp_path / "annotations.json"))
    items = [{**item, "score": 0.9} for item in truth.dataset["annotations"] if not item["iscrowd"]]

    evaluation = COCOeval(truth, truth.loadRes(items), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()

    assert evaluation.stats[0] == pytest.approx(1)


def test_coco_names_classes_that_the_dataset_does_not_name(tmp_path: Path) -> None:
    """Class indices without names still get categories, as many as were seen; an index that cannot be one is refused."""
    columns = {**FOREIGN, "category": Column("category", "class_labels")}

    export("coco", tmp_path / "a", [foreign_row([[1, 2, 3, 4]], [2])], columns)

    said = json.loads((tmp_path / "a" / "annotations.json").read_bytes())
    assert [(category["id"], category["name"]) for category in said["categories"]] == [(1, "class 0"), (2, "class 1"), (3, "class 2")]
    assert said["annotations"][0]["category_id"] == 3
    wrong = {**foreign_row([[1, 2, 3, 4]], [0]), "category": np.array([2**32 - 1], np.uint32)}
    with pytest.raises(InvalidSource, match="expected class indices of 0 to 65535 in column 'category', found 4294967295"):
        export("coco", tmp_path / "b", [wrong], columns)


# --- YOLO -----------------------------------------------------------------------------------------------------------------


def test_yolo_numbers_classes_as_ultralytics_does_and_counts_what_is_left_out(tmp_path: Path) -> None:
    """Ignored regions and boxes without area are left out, classes count from 0; the note has the numbers."""
    export("yolo", tmp_path, STREET)

    about = yaml.safe_load((tmp_path / "data.yaml").read_bytes())
    assert about == {"train": "images", "val": "images", "names": dict(enumerate(CLASS_NAMES[1:]))}
    texts = [(tmp_path / "labels" / f"{row['sample_id']}.txt").read_text() for row in STREET]
    read = [[(about["names"][int(line.split()[0])], *map(float, line.split()[1:])) for line in text.splitlines()] for text in texts]
    assert [[box[0] for box in boxes] for boxes in read] == [["car"], [], ["others", "motor"]]
    assert read[2][0][1:] == pytest.approx((54 / 64, 38 / 48, 20 / 64, 20 / 48))
    assert note(tmp_path)["counts"] == {
        "boxes": 3,
        "boxes_clipped": 0,
        "boxes_left_out_as_ignored_regions": 1,
        "boxes_left_out_without_area": 1,
        "names_changed": 0,
        "pictures_that_readers_turn": 0,
    }
    assert note(tmp_path)["columns_left_out"] == ["occlusion", "sample_id", "score", "sequence", "truncation"]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((-8, 12, 16, 12), (4 / 64, 18 / 48, 8 / 64, 12 / 48)),
        ((60, 40, 100, 100), (62 / 64, 44 / 48, 4 / 64, 8 / 48)),
        ((64, 10, 5, 5), None),
        ((-20, 10, 10, 10), None),
        ((10, 10, -5, 5), None),
    ],
)
def test_yolo_boxes_are_clipped_to_the_picture(box: tuple[float, ...], expected: tuple[float, ...] | None, tmp_path: Path) -> None:
    """Past the border: cut and counted. Outside, or with a negative side: left out and counted."""
    export("yolo", tmp_path, [foreign_row([box], [0])], FOREIGN)

    text = (tmp_path / "labels" / "row-0000000.txt").read_text()
    counts = note(tmp_path)["counts"]
    if expected is None:
        assert (text, counts["boxes_clipped"], counts["boxes_left_out_without_area"]) == ("", 0, 1)
    else:
        assert tuple(map(float, text.split()[1:])) == pytest.approx(expected)
        assert (counts["boxes_clipped"], counts["boxes_left_out_without_area"]) == (1, 0)


@pytest.mark.parametrize("layout", ["coco", "yolo"])
def test_pictures_that_readers_turn_are_counted(layout: str, tmp_path: Path) -> None:
    """Sizes and boxes refer to the stored pixels; a camera's note to turn them is left in the bytes and counted."""
    export(layout, tmp_path, [foreign_row([[1, 2, 3, 4]], [0], picture(turned=True))], FOREIGN)

    assert note(tmp_path)["counts"]["pictures_that_readers_turn"] == 1
    if layout == "coco":
        (about,) = json.loads((tmp_path / "annotations.json").read_bytes())["images"]
        assert (about["width"], about["height"]) == (64, 48)
