# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted volumes, volumes of several pieces, read-only ones, and parents that show through."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.downstairs.options import Mode
from propolis_lab.protocol.basics import EMPTY, EncryptedContext, ReadContext, UnencryptedContext
from propolis_lab.upstairs import ActivationError, IoError, Upstairs, tree
from propolis_lab.upstairs.crypt import Seal, SpoiltDataError
from propolis_lab.upstairs.status import Phase
from trio import Trio
from volumes import QUICK, Notes, eventually, on_loop, region_request, volume_request

BLOCK = 512
KEY, OTHER_KEY = b"A" * 32, b"B" * 32


def as_read(seal_key: bytes | None, data: bytes) -> tuple[tuple[ReadContext, ...], bytes]:
    """What a downstairs would answer about blocks that were written so."""
    sealed = Seal(BLOCK, seal_key).close(data)
    contexts: list[ReadContext] = [
        EncryptedContext(*context.encryption) if context.encryption else UnencryptedContext(context.hash)
        for context in sealed.contexts
    ]
    return tuple(contexts), sealed.data


@given(st.integers(0, 3), st.booleans())
def test_what_is_sealed_is_opened_again(count: int, encrypted: bool) -> None:
    key, data = KEY if encrypted else None, os.urandom(count * BLOCK)
    contexts, stored = as_read(key, data)
    assert Seal(BLOCK, key).open(contexts, stored) == data
    assert (stored != data) == (encrypted and count > 0)


@given(st.integers(0, 2 * BLOCK - 1), st.booleans())
def test_a_flipped_bit_is_noticed(place: int, encrypted: bool) -> None:
    key = KEY if encrypted else None
    contexts, stored = as_read(key, bytes(2 * BLOCK))
    spoilt = bytearray(stored)
    spoilt[place] ^= 1
    with pytest.raises(SpoiltDataError) as error:
        Seal(BLOCK, key).open(contexts, spoilt)
    assert error.value.decryption == encrypted


def test_contexts_of_the_wrong_kind_and_data_in_empty_blocks_are_noticed() -> None:
    plain, secret = as_read(None, bytes(BLOCK)), as_read(KEY, bytes(BLOCK))
    assert Seal(BLOCK, KEY).open((EMPTY,), bytes(BLOCK)) == bytes(BLOCK)
    for seal, (contexts, data) in (
        (Seal(BLOCK), secret),
        (Seal(BLOCK, KEY), plain),
        (Seal(BLOCK), ((EMPTY,), b"x" * BLOCK)),
    ):
        with pytest.raises(SpoiltDataError):
            seal.open(contexts, data)
    with pytest.raises(SpoiltDataError, match="1 blocks of 512 bytes expected"):
        Seal(BLOCK).open((EMPTY,), bytes(100))


def test_every_block_of_every_write_has_a_nonce_of_its_own() -> None:
    contexts = [*Seal(BLOCK, KEY).close(bytes(BLOCK * 8)).contexts, *Seal(BLOCK, KEY).close(bytes(BLOCK * 8)).contexts]
    assert len({context.encryption[0] for context in contexts if context.encryption}) == 16


@on_loop
async def test_a_wrong_key_activates_and_then_reads_and_writes_fail_and_harm_nothing(tmp_path: Path) -> None:
    async with Trio(tmp_path, key=KEY) as trio:
        volume = trio.upstairs(1)
        await volume.activate()
        await volume.write(0, b"secret!!" * 64)
        await volume.deactivate()
        trio.key = OTHER_KEY
        log = Notes()
        volume = trio.upstairs(2, log=log)
        await volume.activate()
        with pytest.raises(IoError, match="is it the right key"):
            await volume.read(0, BLOCK)
        with pytest.raises(IoError, match="is it the right key"):
            await volume.write(0, bytes(BLOCK))
        assert volume.status().active
        assert any("the real upstairs aborts here" in text for text in log.texts(50))
        await volume.deactivate()
        trio.key = KEY
        volume = trio.upstairs(3)
        await volume.activate()
        assert await volume.read(0, 2 * BLOCK) == b"secret!!" * 64 + bytes(BLOCK)
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()
        assert b"secret!!" not in trio.contents(0)


@pytest.mark.parametrize(("key", "wanted", "got"), [(None, "false", "true"), (KEY, "true", "false")])
@on_loop
async def test_a_missing_or_needless_key_is_refused_with_the_recorded_text(
    tmp_path: Path, key: bytes | None, wanted: str, got: str
) -> None:
    async with Trio(tmp_path, key=None if key else KEY) as trio:
        trio.key = key
        with pytest.raises(ActivationError) as refusal:
            await trio.upstairs().activate()
        assert refusal.value.real == (
            f"Negotiation error: Incompatible encryption settings: wanted {wanted}, got {got}"
        )


@on_loop
async def test_a_read_only_volume_needs_one_downstairs_and_no_generation_and_cannot_be_written(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(5)
        await volume.activate()
        await volume.write(0, b"r" * BLOCK)
        await volume.deactivate()
        await trio.stop_all()
        trio.options["mode"] = Mode.READ_ONLY
        await trio.start(1)
        with pytest.raises(ActivationError, match="Incompatible read-only settings"):
            await trio.upstairs(6, targets=(1, 1, 1)).activate()
        reader = trio.upstairs(0, read_only=True)
        await reader.activate()
        assert await reader.read(0, BLOCK) == b"r" * BLOCK
        with pytest.raises(IoError, match="read-only"):
            await reader.write(0, bytes(BLOCK))
        await reader.flush()
        await trio.start(0)
        await eventually(lambda: reader.region_sets[0].targets[0].phase is Phase.ACTIVE)
        await trio.stop(1)
        assert await reader.read(0, BLOCK) == b"r" * BLOCK
        await reader.deactivate()


class Pieces:
    """A volume over several region sets, each on the same three hosts' worth of downstairs."""

    def __init__(self, *trios: Trio) -> None:
        self.trios = trios

    def regions(self, generation: int) -> list[dict[str, Any]]:
        return [trio.request(generation)["sub_volumes"][0] for trio in self.trios]


@on_loop
async def test_many_reads_of_a_read_only_volume_are_forgotten_behind_flushes(tmp_path: Path) -> None:
    async with Trio(tmp_path, mode=Mode.READ_ONLY) as trio:
        volume = trio.upstairs(0, replace(QUICK, barrier_jobs=5, flush_delay=30.0), read_only=True)
        await volume.activate()
        await eventually(lambda: all(one.phase is Phase.ACTIVE for one in volume.region_sets[0].targets))
        for _unused in range(30):
            await volume.read(0, BLOCK)
        await eventually(lambda: volume.region_sets[0].open_jobs <= 6)
        assert volume.status().active
        await volume.deactivate()


@on_loop
async def test_the_pieces_of_a_volume_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with Trio(tmp_path / "a") as first, Trio(tmp_path / "b", extents=2) as second:
        request = Upstairs.parse(volume_request(*Pieces(first, second).regions(1)))
        volume = Upstairs(request, log=Notes(), settings=QUICK)
        assert volume.size == (64 + 32) * BLOCK
        await volume.activate()
        data = bytes(number % 250 for number in range(4 * BLOCK))
        await volume.write(62 * BLOCK, data)
        assert await volume.read(62 * BLOCK, 4 * BLOCK) == data
        assert len(volume.status().to_json()["volume"]["sub_volumes"]) == 2
        await volume.deactivate()
        await second.stop_all()
        assert second.contents(0)[: 2 * BLOCK] == data[2 * BLOCK :]
        again = Upstairs(Upstairs.parse(volume_request(*Pieces(first, second).regions(1))), log=Notes(), settings=QUICK)
        with pytest.raises(ActivationError, match="too low: requested 1, found 2"):
            await again.activate()
        assert not again.status().active
        assert all(target.phase is Phase.WAIT_CONNECT for one in again.region_sets for target in one.targets)


@asynccontextmanager
async def child_and_parent(folder: Path) -> AsyncIterator[tuple[Trio, Upstairs]]:
    """A volume of 64 blocks over a read-only parent of 32, of which the first 20 were written."""
    (folder / "parent").mkdir()
    (folder / "child").mkdir()
    async with Trio(folder / "parent", extents=2) as parent, Trio(folder / "child") as child:
        volume = parent.upstairs(1)
        await volume.activate()
        await volume.write(0, b"p" * 20 * BLOCK)
        await volume.deactivate()
        await parent.stop_all()
        parent.options["mode"] = Mode.READ_ONLY
        for number in range(3):
            await parent.start(number)
        below = region_request(parent.ports, 1, extents=2, read_only=True, id="12345678-0000-4000-8000-0000000000cc")
        vcr = volume_request(child.request(1)["sub_volumes"][0], parent=below)
        volume = Upstairs(Upstairs.parse(vcr), log=Notes(), settings=QUICK)
        await volume.activate()
        yield child, volume
        await volume.deactivate()


@on_loop
async def test_a_parent_shows_through_where_nothing_was_written(tmp_path: Path) -> None:
    async with child_and_parent(tmp_path) as (_child, volume):
        await volume.write(3 * BLOCK, b"c" * BLOCK)
        assert await volume.read(0, 64 * BLOCK) == (
            b"p" * 3 * BLOCK + b"c" * BLOCK + b"p" * 16 * BLOCK + bytes(44 * BLOCK)
        )
        assert await volume.read(40 * BLOCK, BLOCK) == bytes(BLOCK)
        info = volume.status().to_json()["volume"]
        assert info["read_only_parent"]["upstairs"]["read_only"] is True
        await volume.flush()


@on_loop
async def test_a_volume_that_was_scrubbed_holds_what_its_parent_showed_and_what_was_written_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "SCRUB_BYTES", 8 * BLOCK)
    async with child_and_parent(tmp_path) as (child, volume):
        await volume.write(3 * BLOCK, b"c" * BLOCK)
        scrubbing = asyncio.create_task(volume.scrub())
        await volume.write(18 * BLOCK, b"d" * BLOCK)  # before, while or after that block is copied
        await scrubbing
        shown = await volume.read(0, 64 * BLOCK)
    await child.stop_all()
    assert child.equal()
    expected = b"p" * 3 * BLOCK + b"c" * BLOCK + b"p" * 14 * BLOCK + b"d" * BLOCK + b"p" * BLOCK + bytes(44 * BLOCK)
    assert shown == child.contents(0) == expected
    assert [version[:2] for version in child.versions(0)][:2] != [(0, 0)] * 2
    assert child.versions(0)[2:] == [(0, 0, False)] * 2, "what lies above the parent was never touched"


@on_loop
async def test_a_volume_without_a_parent_needs_no_scrub(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(1)
        await volume.activate()
        await volume.scrub()
        assert volume.region_sets[0].open_jobs == 0
        await volume.deactivate()
