"""CIFAR-10's two published forms: read exactly, and refused with file, record and byte where they are broken."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from lineage.errors import InvalidSource
from pipelines.data.cifar10 import Cifar10Importer
from pipelines.data.cifar10_format import RECORD, png_of
from pipelines.data.cifar10_sample import CLASS_NAMES, drawn_parts, parts_of_arrays, write_sample

FORMS = ("binary", "python")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``binary`` and ``python`` with the same pictures: batches of 7 and 6, and 5 to test."""
    folder = tmp_path_factory.mktemp("cifar")
    for form in FORMS:
        write_sample(folder / form, drawn_parts(train=13, test=5, batches=2, seed=3), form)  # type: ignore[arg-type]
    return folder


@pytest.fixture
def copied(source: Path, tmp_path: Path) -> Path:
    """Those folders, to be broken."""
    for form in FORMS:
        (tmp_path / form).mkdir()
        for path in (source / form).iterdir():
            (tmp_path / form / path.name).write_bytes(path.read_bytes())
    return tmp_path


def rows(folder: Path, **options: Any) -> list[dict[str, Any]]:
    importer = Cifar10Importer()
    return [importer.read(sample) for sample in importer.scan(folder, **options).samples]


def pixels(encoded: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(encoded)) as picture:
        return np.asarray(picture)


def refused(folder: Path) -> str:
    with pytest.raises(InvalidSource) as caught:
        Cifar10Importer().scan(folder)
    return str(caught.value)


def test_both_forms_give_the_same_rows(source: Path) -> None:
    binary, python = rows(source / "binary"), rows(source / "python")
    parts = drawn_parts(train=13, test=5, batches=2, seed=3)

    assert [row["sample_id"] for row in binary] == [f"{name}:{n}" for name, (_, labels) in parts.items() for n in range(len(labels))]
    for name in ("images", "sample_id", "part", "batch"):
        assert [row[name] for row in binary] == [row[name] for row in python], name
    assert [row["labels"].tolist() for row in binary] == [[label] for _, labels in parts.values() for label in labels.tolist()]
    assert {row["batch"]: row["part"] for row in binary} == {"data_batch_1": "train", "data_batch_2": "train", "test_batch": "test"}
    assert python[0]["filename"] == f"{CLASS_NAMES[int(python[0]['labels'][0])]}_s_000000.png"
    expected = np.concatenate([pictures for pictures, _ in parts.values()])
    assert np.array_equal(np.stack([pixels(row["images"]) for row in binary]), expected)


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_and_a_single_batch_are_read_too(source: Path, tmp_path: Path, form: str) -> None:
    with tarfile.open(tmp_path / "cifar-10.tar.gz", "w:gz") as archive:
        archive.add(source / form, "cifar-10-batches")
    packed, plain = rows(tmp_path / "cifar-10.tar.gz"), rows(source / form)
    assert [(row["sample_id"], row["images"]) for row in packed] == [(row["sample_id"], row["images"]) for row in plain]
    batch = source / form / ("test_batch.bin" if form == "binary" else "test_batch")
    assert [row["sample_id"] for row in rows(batch)] == [f"test_batch:{number}" for number in range(5)]


def test_a_batch_as_python_2_wrote_it(tmp_path: Path) -> None:
    """The published files are pickles of Python 2 with NumPy's old module names: opcodes by hand, as protocol 2 has them."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    content = bytes(range(256)) * 12
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + b"K\x00\x85" + text(b"b") + b"\x87R"
        + b"(K\x01" + b"K\x01M" + struct.pack("<H", 3072) + b"\x86"
        + b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R" + b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89" + text(content) + b"tb"
    )  # fmt: skip
    batch = b"\x80\x02}(" + text(b"data") + array + text(b"labels") + b"]K\x06a" + text(b"filenames") + b"]" + text(b"frog.png") + b"au."
    write_sample(tmp_path / "p", drawn_parts(train=3, test=1, batches=1, seed=0), "python")
    (tmp_path / "p" / "data_batch_1").write_bytes(batch)
    row = rows(tmp_path / "p")[0]

    assert (row["labels"].tolist(), row["filename"]) == ([6], "frog.png")
    assert np.array_equal(pixels(row["images"]).transpose(2, 0, 1).reshape(-1), np.frombuffer(content, np.uint8))


def test_a_pickle_that_would_run_something_is_refused(copied: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    for content in (pickle.dumps({b"data": Evil()}), b"cos\nsystem\n(S'touch ran'\ntR.", pickle.dumps(np.array([Evil()], object))):
        (copied / "python" / "data_batch_2").write_bytes(content)
        assert "data_batch_2: is a pickle that asks for" in refused(copied / "python") or "whole numbers" in refused(copied / "python")
    assert not (tmp_path / "ran").exists()


def broken(copied: Path, form: str, name: str, change: Any) -> str:
    path = copied / form / name
    path.write_bytes(change(path.read_bytes()))
    return refused(copied / form)


def test_a_cut_off_binary_batch_names_record_and_byte(copied: Path) -> None:
    told = broken(copied, "binary", "data_batch_2.bin", lambda content: content[: 4 * RECORD + 100])
    assert "data_batch_2.bin: is cut off in record 4, at byte 12,392, expected records of 3,073 bytes, found 100 bytes" in told
    kept = rows(copied / "binary", on_error="skip")
    assert [row["sample_id"] for row in kept if row["batch"] == "data_batch_2"] == [f"data_batch_2:{number}" for number in range(4)]


def test_an_unknown_label_names_record_and_byte_and_only_that_one_is_skipped(copied: Path) -> None:
    told = broken(copied, "binary", "test_batch.bin", lambda content: content[: 2 * RECORD] + b"\x0a" + content[2 * RECORD + 1 :])
    assert "test_batch.bin: record 2 (byte 6,146): unknown label, expected a number from 0 to 9, found 10" in told
    kept = [row["sample_id"] for row in rows(copied / "binary", on_error="skip") if row["batch"] == "test_batch"]
    assert kept == [f"test_batch:{number}" for number in (0, 1, 3, 4)]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({b"data": np.zeros((2, 9), np.uint8), b"labels": [0, 1]}, r"data: expected uint8 of shape \(records, 3,072\), found .*9\)"),
        ({b"data": np.zeros((2, 3072), np.float32), b"labels": [0, 1]}, "cannot be read as a pickle.*whole numbers"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, "labels: expected 2, one for each row of data, found 1"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, "cat"]}, "labels: expected whole numbers, found 'cat'"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [0, 1]}, "expected the entries data and labels, found data, fine_labels"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 12]}, "record 1: unknown label, expected a number from 0 to 9, found 12"),
        ([1, 2], "expected a dictionary, found list"),
    ],
)  # fmt: skip
def test_a_wrong_python_batch_is_described(copied: Path, values: Any, said: str) -> None:
    (copied / "python" / "data_batch_1").write_bytes(pickle.dumps(values, protocol=2))
    with pytest.raises(InvalidSource, match=f"data_batch_1: .*{said}|data_batch_1: {said}"):
        Cifar10Importer().scan(copied / "python")


def test_a_cut_off_pickle_is_said(copied: Path) -> None:
    assert "data_batch_1: cannot be read as a pickle (5000 bytes)" in broken(
        copied, "python", "data_batch_1", lambda content: content[:5000]
    )


@pytest.mark.parametrize(("form", "meta"), [("binary", "batches.meta.txt"), ("python", "batches.meta")])
def test_missing_and_wrong_names_of_classes(copied: Path, form: str, meta: str) -> None:
    (copied / form / meta).unlink()
    assert f"{meta}: expected the names of the classes, found no such file" in refused(copied / form)
    (copied / form / meta).write_bytes(b"\n" if form == "binary" else pickle.dumps({b"label_names": [b"cat", b"cat"]}, protocol=2))
    assert "expected" in refused(copied / form)


def test_a_folder_that_is_none_says_what_is_there(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("x")
    assert "expected data_batch_1.bin … test_batch.bin with batches.meta.txt" in refused(tmp_path / "other")
    assert "found notes.txt" in refused(tmp_path / "other")
    assert "found nothing" in refused(tmp_path / "nowhere")
    (copied / "binary" / "data_batch_1").write_bytes(b"")
    assert "expected one version, found data_batch_1.bin of the binary and data_batch_1 of the Python version" in refused(copied / "binary")


def test_a_batch_that_changes_between_checking_and_storing_is_noticed(copied: Path) -> None:
    importer = Cifar10Importer()
    scan = importer.scan(copied / "binary")
    path = copied / "binary" / "data_batch_1.bin"
    content = bytearray(path.read_bytes())
    content[77] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InvalidSource, match=r"data_batch_1\.bin: changed while it was uploaded"):
        importer.read(scan.samples[0])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    form=st.sampled_from(FORMS),
    test=st.integers(1, 3),
)
def test_any_pixels_come_back_as_they_were(seed: int, counts: list[int], form: Any, test: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = {f"data_batch_{number}": max(1, count) for number, count in enumerate(counts, 1)} | {"test_batch": test}
    parts = {name: (rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 10, n)) for name, n in sizes.items()}
    with tempfile.TemporaryDirectory() as folder:
        found = rows(write_sample(Path(folder) / "c", parts, form))
    assert np.array_equal(np.stack([pixels(row["images"]) for row in found]), np.concatenate([pictures for pictures, _ in parts.values()]))
    assert [int(row["labels"][0]) for row in found] == [label for _, labels in parts.values() for label in labels.tolist()]


def test_the_png_of_a_picture_follows_from_its_pixels_alone() -> None:
    """Stored, not compressed: its bytes are counted, whatever release of a compressor is installed. Larger ones have several blocks."""
    picture = np.arange(3072, dtype=np.uint8).reshape(32, 32, 3)
    assert len(png_of(picture)) == 8 + 25 + 12 + 2 + 5 + 32 * 97 + 4 + 12
    large = np.random.default_rng(0).integers(0, 256, (200, 150, 3), np.uint8)
    assert np.array_equal(pixels(png_of(large)), large)


def test_the_maker_reads_arrays_and_says_what_is_wrong_with_them(tmp_path: Path) -> None:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    arrays = (np.zeros((4, 32, 32, 3), np.uint8), np.arange(4, dtype=np.uint8), np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.uint8))
    np.savez(tmp_path / "good.npz", **dict(zip(names, arrays, strict=True)))
    parts = parts_of_arrays(tmp_path / "good.npz", train=3, test=None, batches=2)
    assert {name: labels.tolist() for name, (_, labels) in parts.items()} == {
        "data_batch_1": [0, 1],
        "data_batch_2": [2],
        "test_batch": [0, 0],
    }
    np.savez(tmp_path / "bad.npz", **dict(zip(names, (arrays[0][:, 1:], *arrays[1:]), strict=True)))
    with pytest.raises(InvalidSource, match=r"train_images: expected uint8 of shape \(4, 32, 32, 3\), found uint8 of \(4, 31, 32, 3\)"):
        parts_of_arrays(tmp_path / "bad.npz", train=None, test=None, batches=1)
