"""Digests of tensors: every bit, type and shape counts, and nothing else does."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lineage.adapters.frameworks.torch import TorchWatcher
from lineage.adapters.frameworks.torch_digest import cpu_digest, device_sums, label

DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
WORDS_AT_ONCE = 1 << 20  # how many words the sums take at a time
digest = TorchWatcher().digest


def sums(tensor: torch.Tensor) -> bytes:
    """What the method for other devices keeps of a tensor, worked out on the CPU."""
    return label(tensor) + device_sums(tensor).numpy().tobytes()


METHODS = pytest.mark.parametrize("method", [digest, sums], ids=["cpu", "device"])


def from_bits(content: bytes, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor with exactly these bits, and memory of its own; a bool is a byte of 0 or 1."""
    count = int(np.prod(shape))
    raw = torch.tensor(list(content[: count * dtype.itemsize]), dtype=torch.uint8)
    return (raw & 1 if dtype is torch.bool else raw).view(dtype).reshape(shape)


@st.composite
def tensors(draw: st.DrawFn, *, least: int = 0, most: int = 5) -> torch.Tensor:
    """Any bits, so also every kind of not-a-number."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(least, most), min_size=0, max_size=4)))
    size = int(np.prod(shape)) * dtype.itemsize
    return from_bits(draw(st.binary(min_size=size, max_size=size)), dtype, shape)


def layouts(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The same values in other memory: strided, transposed, channels last, inside a larger tensor, at an odd address."""
    yield tensor.clone()
    if tensor.dim():
        wide = torch.zeros((*tensor.shape[:-1], 2 * tensor.shape[-1] + 1), dtype=tensor.dtype)
        wide[..., 1::2] = tensor
        yield wide[..., 1::2]
    if tensor.dim() >= 2:
        yield tensor.transpose(0, 1).contiguous().transpose(0, 1)
    if tensor.dim() == 4:
        yield tensor.contiguous(memory_format=torch.channels_last)
    for before in (1, 3):
        whole = torch.zeros(tensor.numel() + before, dtype=tensor.dtype)
        whole[before:] = tensor.reshape(-1)
        yield whole[before:].view(tensor.shape)


@METHODS
@given(tensor=tensors())
def test_equal_bits_have_equal_digests_in_any_memory(method: Any, tensor: torch.Tensor) -> None:
    expected = method(tensor)
    for other in layouts(tensor):
        assert method(other) == expected, (other.stride(), other.storage_offset())
    assert method(tensor.requires_grad_() if tensor.is_floating_point() else tensor) == expected


@METHODS
@given(tensor=tensors(least=1), data=st.data())
def test_one_bit_changes_the_digest(method: Any, tensor: torch.Tensor, data: st.DataObject) -> None:
    other = tensor.clone()
    raw = other.reshape(-1).view(torch.uint8)
    bit = 0 if tensor.dtype is torch.bool else data.draw(st.integers(0, 7))
    raw[data.draw(st.integers(0, raw.numel() - 1))] ^= 1 << bit

    assert method(other) != method(tensor)


@METHODS
@given(tensor=tensors(least=1), data=st.data())
def test_two_elements_that_change_places_change_the_digest(method: Any, tensor: torch.Tensor, data: st.DataObject) -> None:
    """A sum of elements alone would not see it."""
    flat = tensor.reshape(-1)
    first, second = (data.draw(st.integers(0, flat.numel() - 1)) for _ in range(2))
    swapped = flat.clone()
    swapped[first], swapped[second] = flat[second].clone(), flat[first].clone()
    same = cpu_digest(swapped) == cpu_digest(flat)

    assert (method(swapped.view(tensor.shape)) == method(tensor)) == same
    assert same == (bits_of(flat[first]) == bits_of(flat[second]))


def bits_of(element: torch.Tensor) -> bytes:
    return element.reshape(1).view(torch.uint8).numpy().tobytes()


@METHODS
@given(tensor=tensors())
def test_type_and_shape_count(method: Any, tensor: torch.Tensor) -> None:
    """The same bits as another type of that size, or in another shape, are something else; an empty tensor has a shape, too."""
    found = method(tensor)
    for dtype in DTYPES:
        if dtype is not tensor.dtype and dtype.itemsize == tensor.dtype.itemsize:
            assert method(tensor.reshape(-1).view(dtype).reshape(tensor.shape)) != found
    for shape in ((*tensor.shape, 1), (1, *tensor.shape), tensor.shape[::-1], (tensor.numel(),)):
        if tuple(shape) != tuple(tensor.shape):
            assert method(tensor.reshape(shape)) != found


@METHODS
@pytest.mark.parametrize(
    "tensor",
    [
        torch.from_numpy(np.zeros(0, np.float32)),  # NumPy's own stride for it is 0: labels of a picture without boxes
        torch.from_numpy(np.zeros((0, 4), np.int64)),
        torch.zeros(4)[::2][:0],
        torch.ones(4, 3)[::2, ::3][:1],
        torch.ones(6)[::3][1:],
    ],
)
def test_tensors_of_one_element_or_none_may_have_any_stride(method: Any, tensor: torch.Tensor) -> None:
    assert method(tensor) == method(torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor))


@METHODS
def test_zeros_of_two_signs_and_not_a_numbers_differ(method: Any) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert method(torch.tensor([0.0], dtype=dtype)) != method(torch.tensor([-0.0], dtype=dtype))
    payloads = [struct.pack("<I", 0x7FC00000 + number) for number in range(3)] + [struct.pack("<I", 0xFFC00000)]
    found = [method(from_bits(payload, torch.float32, (1,))) for payload in payloads]
    assert len(set(found)) == 4
    assert found == [method(from_bits(payload, torch.float32, (1,))) for payload in payloads]


@METHODS
def test_views_that_only_turn_signs_are_read_as_they_are(method: Any) -> None:
    """A conjugate and a negative view hold the bits of something else."""
    values = torch.tensor([1 + 2j, -3 + 0.5j])
    assert method(values.conj()) == method(values.conj().resolve_conj()) != method(values)
    negative = torch._neg_view(torch.ones(3))
    assert negative.is_neg()
    assert method(negative) == method(-torch.ones(3))


@METHODS
def test_the_thread_count_does_not_matter(method: Any) -> None:
    """Also across the borders at which long tensors are cut; a change behind a border is seen."""
    threads = torch.get_num_threads()
    source = torch.randn(WORDS_AT_ONCE + 5, generator=torch.Generator().manual_seed(1))
    changed = source.clone()
    changed.view(torch.int32)[-2] ^= 1
    moved = source.clone()
    moved[0], moved[WORDS_AT_ONCE] = source[WORDS_AT_ONCE].clone(), source[0].clone()
    try:
        found = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append([method(source), method(changed), method(moved)])
    finally:
        torch.set_num_threads(threads)

    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == 3


def test_a_batch_of_large_tensors_has_one_digest_for_any_thread_count() -> None:
    """However many threads share the work: each tensor counts at its own place."""
    threads = torch.get_num_threads()
    large = [torch.full((700_000 + 1000 * number,), float(number)) for number in range(4)]
    batch = [large[2], torch.zeros(3), *large, "name"]
    try:
        found = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append([digest(batch), digest(batch[::-1]), digest([large[3], *batch[1:]])])
    finally:
        torch.set_num_threads(threads)

    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == 3


def test_the_digests_of_today_are_those_of_tomorrow() -> None:
    """A step log is compared with those that were written before: a change here is a change of format."""
    tensor = torch.arange(7, dtype=torch.float32).reshape(1, 7)
    assert digest(tensor).hex() == "212bdf2ca9d13774b49ef353101365e8"
    assert device_sums(tensor).tolist() == [4518143528187985920, 8514727497674260480]
    assert digest({"picture": tensor, "boxes": [[1, 2.5, None], np.arange(3)], "name": "a"}).hex() == "a99f5f2e8346a0ca9580444e7a267144"


plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.binary(max_size=5), tensors(most=2)
)
batches = st.recursive(
    plain,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


def spelled(batch: Any) -> Any:
    """What a batch holds, in a form that ``==`` compares bit for bit."""
    if isinstance(batch, torch.Tensor):
        return ("tensor", str(batch.dtype), tuple(batch.shape), cpu_digest(batch))
    if isinstance(batch, dict):
        return ("mapping", sorted((key, spelled(value)) for key, value in batch.items()))
    if isinstance(batch, list):
        return ("sequence", [spelled(value) for value in batch])
    return (type(batch).__name__, repr(batch))


@settings(max_examples=300)
@given(batches, batches)
def test_batches_have_equal_digests_when_they_are_equal(left: Any, right: Any) -> None:
    """Nested in any way: what is grouped otherwise, or has another key, is another batch."""
    assert (digest(left) == digest(right)) == (spelled(left) == spelled(right))


@dataclass
class Target:
    """A batch may be of a class of its own."""

    boxes: torch.Tensor
    name: str = "a"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([[1, 2], [3]], [[1], [2, 3]]),  # a box that moved to the next picture
        ({"boxes": [1]}, {"points": [1]}),
        ([], [[]]),
        ("ab", ["a", "b"]),
        (["a", "b"], ["ab"]),
        (["1"], [1]),
        ([True], [1]),
        ([1], [1.0]),
        (["a';str 'b"], ["a", "b"]),
        (np.float32(0.5), np.float64(0.5)),
        (np.arange(3), np.arange(3, dtype=np.int32)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.array(["2024-01-01"], "datetime64[D]"), np.array(["2024-01-01"], "datetime64[s]")),
        (np.array(["a", "b"]), np.array(["a", "c"])),
        (np.zeros((0, 3), object), np.zeros((0, 2), object)),
        ({1, 2}, {1, 3}),
        (Target(torch.zeros(2)), Target(torch.zeros(3))),
        (Target(torch.zeros(2)), Target(torch.zeros(2), "b")),
        (Image.new("L", (3, 2), 1), Image.new("L", (3, 2), 2)),
        (torch.eye(3).to_sparse(), (2 * torch.eye(3)).to_sparse()),
    ],
)
def test_what_differs_anywhere_in_a_batch_is_seen(left: Any, right: Any) -> None:
    assert digest(left) != digest(right)


def test_a_ragged_array_of_arrays_is_read_to_its_end() -> None:
    """Its representation as text would leave out the middle of long arrays, and digits."""
    ragged = np.empty(2, object)
    ragged[0], ragged[1] = np.zeros(5000), np.zeros(3)
    other = ragged.copy()
    other[0] = ragged[0].copy()
    other[0][2500] = 1e-12

    assert digest(other) != digest(ragged)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([1, "a"], (1, "a")),  # what pinning memory makes of a tuple
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({3, 1, "x"}, {"x", 1, 3}),
        (np.arange(6).reshape(2, 3).T, np.ascontiguousarray(np.arange(6).reshape(2, 3).T)),
        (object(), object()),  # nothing is known of it but its type
        (Target(torch.ones(2)), Target(torch.ones(4)[::2])),
    ],
)
def test_what_only_looks_different_has_the_same_digest(left: Any, right: Any) -> None:
    assert digest(left) == digest(right)
