"""Digests of tensors: of every bit, cheap enough for every step.

On the CPU: XXH3 with 128 bits (Collet, https://xxhash.com; as fast as memory can be read), over the bits as they are, nothing is copied.
On another device: two multilinear sums modulo 2**64 over the 32-bit words (Carter and Wegman, "Universal classes of hash functions", 1979;
multipliers from SplitMix64). Integer sums do not depend on the order of the summands, so every device and every launch gives the same
digest, the CPU included. Every multiplier is odd: a change of one word always changes the sums.

Bits count, not values: ``0.0`` and ``-0.0`` differ, and so do two not-a-numbers. Types and shapes count. Neither is cryptographic: they
find differences, they do not withstand somebody who makes them meet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch
import xxhash

_WORDS_AT_ONCE = 1 << 20
_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15, SplitMix64's increment
_FIRST, _SECOND = -4658895280553007687, -7723592293110705685  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_SEEDS = (0, 0x2545F4914F6CDD1D)


class Group(str):
    """Stands before the parts of a container: what is grouped otherwise is something else."""

    __slots__ = ()


def leaves(values: Any) -> Iterator[Any]:
    """Tensors, arrays and plain values inside nested containers, in order, each container's behind a :class:`Group`.

    Mappings come by key, sets and data classes likewise. Lists and tuples are the same.
    """
    if isinstance(values, Mapping):
        keys = sorted(values, key=str)
        yield Group(f"mapping of {keys}")
        for key in keys:
            yield from leaves(values[key])
    elif isinstance(values, Set):
        yield from leaves(sorted(values, key=repr))
    elif isinstance(values, Sequence) and not isinstance(values, str | bytes | bytearray):
        yield Group(f"sequence of {len(values)}")
        for value in values:
            yield from leaves(value)
    elif isinstance(values, torch.Tensor) and values.layout is not torch.strided:
        yield from _sparse_parts(values)
    elif isinstance(values, np.ndarray) and values.dtype.hasobject:
        yield Group(f"array {values.shape}")
        for value in values.flat:
            yield from leaves(value)
    elif dataclasses.is_dataclass(values) and not isinstance(values, type):
        yield from leaves({field.name: getattr(values, field.name, None) for field in dataclasses.fields(values)})
    elif hasattr(values, "__array_interface__") and not isinstance(values, type | np.ndarray | np.generic):
        yield np.asarray(values)  # a picture, for example
    else:
        yield values


def _sparse_parts(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    if tensor.layout is torch.sparse_coo:
        tensor = tensor.detach().coalesce()
        yield from (tensor.indices(), tensor.values())
    else:
        yield tensor.detach().to_dense()


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's bits in logical order, uint8, shape (bytes,); shares memory where it can."""
    tensor = tensor.detach()
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    flat = tensor.contiguous().reshape(-1)
    if flat.stride(0) != 1:  # with one element or none every stride is called contiguous, and cannot be seen as bytes
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8)


def label(tensor: torch.Tensor) -> bytes:
    """Type and shape."""
    return f"{tensor.dtype} {tuple(tensor.shape)};".encode()


def cpu_digest(tensor: torch.Tensor) -> bytes:
    """16 bytes over the bits of one tensor on the CPU."""
    return xxhash.xxh3_128_digest(bits(tensor).numpy().data)


def combined(parts: Sequence[bytes]) -> bytes:
    """16 bytes over labels and digests of several values."""
    return xxhash.xxh3_128_digest(b"".join(parts))


def part_of(value: Any) -> bytes:
    """Label and digest of one leaf on the CPU."""
    if isinstance(value, torch.Tensor):
        return label(value) + cpu_digest(value.cpu())
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcmM":
        flat = np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
        return f"numpy {value.dtype.str} {value.shape};".encode() + xxhash.xxh3_128_digest(flat)
    if isinstance(value, np.ndarray | np.generic):
        return f"numpy {value.dtype.str} {value.shape} {value.tolist()!r};".encode()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | bytearray):
        return f"{type(value).__name__} {value!r};".encode()
    return f"object {type(value).__qualname__};".encode()  # its representation may hold an address in memory


def device_sums(tensor: torch.Tensor) -> torch.Tensor:
    """The two sums over one tensor, int64, shape (2,), on its own device; nothing is waited for."""
    raw = bits(tensor)
    if raw.numel() % 4:
        raw = torch.nn.functional.pad(raw, (0, 4 - raw.numel() % 4))
    elif raw.storage_offset() % 4:
        raw = raw.clone()  # part of another tensor: words begin in the middle of one of its own
    words = raw.view(torch.int32)
    total = torch.zeros(2, dtype=torch.int64, device=raw.device)
    for begin in range(0, words.numel(), _WORDS_AT_ONCE):
        chunk = words[begin : begin + _WORDS_AT_ONCE].to(torch.int64)
        places = torch.arange(begin, begin + chunk.numel(), dtype=torch.int64, device=raw.device)
        total += torch.stack([(_multipliers(places, seed) * chunk).sum() for seed in _SEEDS])
    return total


def _multipliers(places: torch.Tensor, seed: int) -> torch.Tensor:
    # SplitMix64 at these places, made odd. Shifts of signed numbers bring the sign along: it is masked away.
    mixed = places * _GAMMA + (_GAMMA ^ seed)
    mixed = (mixed ^ ((mixed >> 30) & ((1 << 34) - 1))) * _FIRST
    mixed = (mixed ^ ((mixed >> 27) & ((1 << 37) - 1))) * _SECOND
    return (mixed ^ ((mixed >> 31) & ((1 << 33) - 1))) | 1
