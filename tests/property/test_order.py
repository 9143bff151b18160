"""The order of an epoch: every row, shared without overlap, the same for ever."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from lineage.record.order import epoch_batches, epoch_order, number_of_batches
from lineage.training.order import EpochBatchSampler, EpochSampler

lengths = st.integers(0, 60)
seeds = st.integers(-(2**64), 2**65)
epochs = st.integers(0, 2**40)
sizes = st.one_of(st.none(), st.integers(1, 9))
worlds = st.integers(1, 5)


def shared(length: int, seed: int, epoch: int, size: int | None, world: int, *, drop_last: bool = False) -> list[list[list[int]]]:
    """The batches of each rank."""
    return [
        epoch_batches(length, seed, epoch, shuffle=True, batch_size=size, drop_last=drop_last, rank=rank, world_size=world)
        for rank in range(world)
    ]


@given(lengths, seeds, epochs)
def test_an_epoch_is_a_permutation_that_follows_from_its_numbers(length: int, seed: int, epoch: int) -> None:
    order = epoch_order(length, seed, epoch)

    assert sorted(order.tolist()) == list(range(length))
    assert order.dtype == "int64"
    assert order.tolist() == epoch_order(length, seed, epoch).tolist()


@given(st.integers(0, 2**64 - 2), st.integers(0, 2**30))
def test_neighbouring_seeds_and_epochs_have_other_orders(seed: int, epoch: int) -> None:
    """Also seeds that a float cannot tell apart; 60 rows meet by chance once in 10**81."""
    found = [tuple(epoch_order(60, *numbers)) for numbers in ((seed, epoch), (seed + 1, epoch), (seed, epoch + 1))]
    assert len(set(found)) == 3


@given(lengths, seeds, epochs, sizes, worlds)
def test_processes_share_an_epoch_without_overlap(length: int, seed: int, epoch: int, size: int | None, world: int) -> None:
    """Put together, the shares are the epoch's order; a last step that does not come out even is filled up from its start."""
    order = epoch_order(length, seed, epoch).tolist()
    ranks = shared(length, seed, epoch, size, world)
    steps = list(zip(*ranks, strict=True))  # strict: processes that wait for each other have equally many
    whole = list(itertools.chain.from_iterable(batch for step in steps for batch in step))

    assert whole[:length] == order
    filled = whole[length:]
    assert len(filled) < world
    assert filled == (order * world)[: len(filled)]
    assert all(len(batch) == (size or 1) for step in steps[:-1] for batch in step)
    for step in steps:
        assert len({len(batch) for batch in step}) == 1
        assert all(step)


@given(lengths, seeds, epochs, st.integers(1, 9), worlds)
def test_how_a_step_is_shared_does_not_change_what_it_sees(length: int, seed: int, epoch: int, size: int, world: int) -> None:
    """A single process with the whole batch trains on the same rows at each step, but for those that fill up the last one."""
    alone = epoch_batches(length, seed, epoch, shuffle=True, batch_size=size * world)
    steps = [list(itertools.chain.from_iterable(step)) for step in zip(*shared(length, seed, epoch, size, world), strict=True)]

    assert [step[: len(batch)] for step, batch in zip(steps, alone, strict=True)] == alone
    assert steps[:-1] == alone[:-1]


@given(lengths, seeds, epochs, sizes, worlds)
def test_a_last_step_is_left_out_on_request(length: int, seed: int, epoch: int, size: int | None, world: int) -> None:
    """Then no row comes twice, and every batch is full."""
    ranks = shared(length, seed, epoch, size, world, drop_last=True)
    seen = [position for batches in ranks for batch in batches for position in batch]
    everything = shared(length, seed, epoch, size, world)

    assert len(seen) == len(set(seen)) == length - length % ((size or 1) * world)
    assert [batches[: len(ranks[0])] for batches in everything] == ranks


@given(lengths, sizes, worlds, st.booleans())
def test_the_number_of_batches_is_known_beforehand(length: int, size: int | None, world: int, drop_last: bool) -> None:
    for batches in shared(length, 3, 1, size, world, drop_last=drop_last):
        assert len(batches) == number_of_batches(length, size, drop_last=drop_last, world_size=world)


@given(lengths, epochs, sizes, worlds)
def test_without_shuffling_the_order_is_that_of_the_view(length: int, epoch: int, size: int | None, world: int) -> None:
    for rank in range(world):
        found = epoch_batches(length, 5, epoch, shuffle=False, batch_size=size, rank=rank, world_size=world)
        assert found == epoch_batches(length, 6, epoch + 1, shuffle=False, batch_size=size, rank=rank, world_size=world)
        if world == 1:
            assert list(itertools.chain.from_iterable(found)) == list(range(length))


@given(lengths, seeds, epochs, st.integers(1, 9), worlds, st.integers(0, 8))
def test_the_samplers_give_that_order_from_any_batch_on(length: int, seed: int, epoch: int, size: int, world: int, skip: int) -> None:
    """Keys carry the epoch; what is skipped and what is given are the whole together."""
    for rank in range(world):
        sampler = EpochSampler(length, seed, shuffle=True, rank=rank, world_size=world)
        sampler.epoch, sampler.skip = epoch, skip
        expected = shared(length, seed, epoch, size, world)[rank]
        batches = EpochBatchSampler(sampler, size, False, world)
        begun = iter(batches)
        sampler.epoch = epoch + 1  # an iteration is of the epoch in which it was begun
        found = list(begun)
        sampler.epoch = epoch

        assert found == [[(epoch, position) for position in batch] for batch in expected[skip:]]
        assert sampler.before(size, drop_last=False) == [position for batch in expected[:skip] for position in batch]
        assert len(batches) == len(expected)


def test_the_order_of_today_is_that_of_tomorrow() -> None:
    """A record names a seed and an epoch, no order: these numbers must never change, or every record would name another training."""
    assert epoch_order(12, 0, 0).tolist() == [0, 7, 6, 1, 9, 3, 8, 10, 5, 2, 4, 11]
    assert epoch_order(12, 2**63 + 1, 5).tolist() == [11, 6, 4, 8, 10, 0, 1, 9, 7, 5, 2, 3]
    assert shared(11, 42, 3, 2, 3) == [[[5, 7], [3, 10]], [[4, 0], [8, 1]], [[6, 2], [9, 5]]]
    assert shared(11, 42, 3, 2, 3, drop_last=True) == [[[5, 7]], [[4, 0]], [[6, 2]]]
