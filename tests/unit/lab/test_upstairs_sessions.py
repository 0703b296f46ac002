# SPDX-License-Identifier: GPL-3.0-or-later
"""Activation, I/O and the end of a session, against the lab's downstairs."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from propolis_lab.region import Age
from propolis_lab.upstairs import ActivationError, IoError, Settings, Upstairs
from propolis_lab.upstairs.status import Mode, Phase
from trio import AFTER_2023, Trio
from volumes import QUICK, Notes, eventually, on_loop

BLOCK = 512


def states(volume: Upstairs) -> tuple[str, list[dict[str, str]]]:
    """The state of a volume and of its targets as the API tells them."""
    upstairs = volume.status().to_json()["volume"]["sub_volumes"][0]["upstairs"]
    return upstairs["state"], [target["state"] for target in upstairs["targets"]]


def connecting(state: str, mode: str = "new") -> dict[str, str]:
    return {"type": "connecting", "state": state, "mode": mode}


@on_loop
async def test_what_one_session_wrote_the_next_one_reads_and_all_replicas_hold(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(1)
        await volume.activate()
        await volume.write(0, b"a" * BLOCK)
        await volume.write(15 * BLOCK, b"b" * 2 * BLOCK)  # over the border of two extents
        await volume.flush()
        assert await volume.read(14 * BLOCK, 3 * BLOCK) == bytes(BLOCK) + b"b" * 2 * BLOCK
        await volume.deactivate()
        volume = trio.upstairs(2)
        await volume.activate()
        assert await volume.read(0, 2 * BLOCK) == b"a" * BLOCK + bytes(BLOCK)
        assert await volume.read(63 * BLOCK, BLOCK) == bytes(BLOCK)
        await volume.deactivate()
        await trio.stop_all()
        assert trio.equal()
        assert [generation for generation, _unused, _unused in trio.versions(0)] == [1, 1, 0, 0]


@on_loop
async def test_the_status_goes_through_the_recorded_states(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        await trio.stop(2)
        volume = trio.upstairs(7)
        assert states(volume) == ("initializing", [connecting("wait_connect")] * 3)
        activation = asyncio.create_task(volume.activate())
        await asyncio.sleep(0)
        await eventually(
            lambda: (
                states(volume)
                == (
                    "go_active",
                    [connecting("wait_quorum"), connecting("wait_quorum"), connecting("negotiating")],
                )
            )
        )
        await trio.start(2)
        await activation
        assert states(volume) == ("active", [{"type": "active"}] * 3)
        info = volume.status().to_json()["volume"]["sub_volumes"][0]["upstairs"]
        assert info["generation"] == 7
        assert info["targets"][1] == {
            "region_id": "12345678-0000-4000-8000-000000000002",
            "target_addr": f"127.0.0.1:{trio.ports[1]}",
            "repair_addr": f"127.0.0.1:{trio.ports[1] + 4000}",
            "state": {"type": "active"},
        }
        await volume.deactivate()
        assert states(volume) == ("initializing", [connecting("wait_connect")] * 3)


@on_loop
async def test_a_cancelled_activation_leaves_no_connection(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        await trio.stop(0)
        volume = trio.upstairs()
        activation = asyncio.create_task(volume.activate())
        await eventually(lambda: volume.region_sets[0].targets[1].phase is Phase.WAIT_QUORUM)
        activation.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await activation
        assert states(volume) == ("initializing", [connecting("wait_connect")] * 3)
        await trio.start(0)
        await volume.activate()
        await volume.deactivate()


@pytest.mark.parametrize(
    ("generation", "text"),
    [(0, "Generation 0 is illegal"), (5, "Generation number is too low: requested 5, found 6")],
)
@on_loop
async def test_a_generation_that_is_not_above_all_on_disk_is_refused_with_the_recorded_text(
    tmp_path: Path, generation: int, text: str
) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(5)
        await volume.activate()
        await volume.write(0, bytes(BLOCK))
        await volume.deactivate()
        late = trio.upstairs(generation)
        with pytest.raises(ActivationError) as refusal:
            await late.activate()
        assert (str(refusal.value), refusal.value.real) == (text, f"Negotiation error: {text}")
        assert states(late) == ("disabled", [connecting("wait_connect")] * 3)
        with pytest.raises(IoError, match="Upstairs is not active"):
            await late.read(0, BLOCK)
        await late.activate(6)
        assert late.generation == 6
        await late.deactivate()


@on_loop
async def test_a_session_that_only_read_leaves_its_generation_unused(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        for _unused in range(2):
            volume = trio.upstairs(1)
            await volume.activate()
            await volume.read(0, BLOCK)
            await volume.deactivate()


@on_loop
async def test_a_higher_generation_takes_over_and_the_old_session_is_disabled_for_good(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        old, new = trio.upstairs(1), trio.upstairs(2)
        await old.activate()
        await old.write(0, b"1" * BLOCK)
        await old.flush()
        await new.activate()
        await eventually(lambda: states(old) == ("disabled", [connecting("wait_connect")] * 3))
        for refused in (old.read(0, BLOCK), old.write(0, b"2" * BLOCK), old.flush()):
            with pytest.raises(IoError, match="Upstairs is not active: No longer active"):
                await refused
        assert await new.read(0, BLOCK) == b"1" * BLOCK
        await new.deactivate()
        await old.deactivate()


@on_loop
async def test_io_before_activation_is_held_and_then_done_in_order(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs()
        early = [asyncio.create_task(volume.write(0, bytes([number]) * BLOCK)) for number in range(4)]
        read = asyncio.create_task(volume.read(0, BLOCK))
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in early)
        await volume.activate()
        await asyncio.gather(*early)
        assert await read == b"\3" * BLOCK
        await volume.deactivate()


@pytest.mark.parametrize(("offset", "length"), [(1, BLOCK), (0, 100), (-BLOCK, BLOCK), (63 * BLOCK, 2 * BLOCK)])
@on_loop
async def test_io_that_is_no_run_of_blocks_of_the_volume_is_refused(tmp_path: Path, offset: int, length: int) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs()
        await volume.activate()
        with pytest.raises(IoError, match=str(abs(offset) or length)):
            await volume.read(offset, length)
        with pytest.raises(IoError):
            await volume.write(offset, bytes(length))
        assert await volume.read(0, 0) == b""
        await volume.deactivate()


@on_loop
async def test_long_io_is_split_and_comes_back_whole(tmp_path: Path) -> None:
    settings = Settings(reconnect_delay=0.05, largest_io=3 * BLOCK)
    data = bytes(number % 251 for number in range(64 * BLOCK))
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(settings=settings)
        await volume.activate()
        await volume.write(0, data)
        assert await volume.read(0, len(data)) == data
        assert volume.region_sets[0].open_jobs >= 2 * 22
        await volume.deactivate()


@on_loop
async def test_what_is_written_is_flushed_by_itself_soon_after(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(3)
        await volume.activate()
        await volume.write(0, b"x" * BLOCK)
        await eventually(lambda: not volume.region_sets[0].open_jobs)
        volume.abandon()
        await trio.stop_all()
        assert trio.equal()
        assert trio.versions(2)[0] == (3, 1, False)


@pytest.mark.parametrize("wrong", [{"extents": 5}, {"blocks": 8}])
@on_loop
async def test_another_geometry_ends_the_activation_where_the_real_upstairs_aborts(
    tmp_path: Path, wrong: dict[str, int]
) -> None:
    async with Trio(tmp_path) as trio:
        for name, value in wrong.items():
            setattr(trio, name, value)
        volume = trio.upstairs()
        with pytest.raises(ActivationError, match="New downstairs region info mismatch: ExpectingFromDown") as error:
            await volume.activate()
        assert error.value.panics
        assert error.value.real == "BlockOpWaiter recv channel disconnected"
        assert states(volume)[0] == "disabled"


@on_loop
async def test_the_same_target_three_times_is_no_longer_active_at_once(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(targets=(0, 0, 0))
        with pytest.raises(ActivationError, match="No longer active"):
            await volume.activate()


@on_loop
async def test_an_equal_generation_of_another_session_is_refused_and_tried_again_until_the_first_ends(
    tmp_path: Path,
) -> None:
    async with Trio(tmp_path, strict_fence=True) as trio:
        first, second = trio.upstairs(4), trio.upstairs(4)
        await first.activate()
        waiting = asyncio.create_task(second.activate())
        await asyncio.sleep(0.3)
        assert not waiting.done()
        assert states(second) == ("go_active", [connecting("negotiating")] * 3)
        await first.write(0, b"f" * BLOCK)
        await first.flush()
        assert states(first)[0] == "active"
        await first.deactivate()
        with pytest.raises(ActivationError, match="requested 4, found 5"):
            await waiting


@on_loop
async def test_the_upstairs_of_2023_meets_only_downstairs_of_2023(tmp_path: Path) -> None:
    async with Trio(tmp_path) as today:
        log = Notes()
        volume = today.upstairs(settings=AFTER_2023, log=log)
        activation = asyncio.create_task(volume.activate())
        await eventually(lambda: any("message version 13, we 1" in text for text in log.texts(40)))
        assert not activation.done()
        activation.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await activation
    (tmp_path / "old").mkdir()
    async with Trio(tmp_path / "old", age=Age.JANUARY_2023) as old:
        volume = old.upstairs(2, settings=AFTER_2023)
        await volume.activate()
        await volume.write(0, b"o" * BLOCK)
        await volume.flush()
        await volume.deactivate()
        with pytest.raises(ActivationError) as refusal:
            await old.upstairs(2, settings=AFTER_2023).activate()
        assert refusal.value.real == "Failed reconciliation"
        waiting = asyncio.create_task(old.upstairs(3).activate())
        await old.running[0].said("expected version 1, got 13")
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting


@on_loop
async def test_two_activations_of_one_upstairs_do_not_mix(tmp_path: Path) -> None:
    async with Trio(tmp_path) as trio:
        volume = trio.upstairs(1)
        await volume.activate()
        await volume.activate(1)
        with pytest.raises(ActivationError, match="active at generation 1; deactivate it first"):
            await volume.activate(2)
        assert volume.status().active
        assert volume.region_sets[0].targets[0].mode is Mode.NEW
        assert QUICK.message_version == 13
        await volume.deactivate()
        first = asyncio.create_task(volume.activate(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(ActivationError, match="go_active at generation 2"):
            await volume.activate(3)
        await first
        await volume.deactivate()
