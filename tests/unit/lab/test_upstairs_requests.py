# SPDX-License-Identifier: GPL-3.0-or-later
"""Volume construction requests: what is accepted, what is refused with which text, and which may replace which."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.upstairs import IoError, ReplaceError, RequestError, Upstairs, VolumeRequest
from propolis_lab.upstairs.compare import compare, compare_for_migration
from propolis_lab.upstairs.request import parse
from volumes import VOLUME, Notes, on_loop, region_request, volume_request

PORTS = (3810, 3820, 3830)
SECRET = b"k" * 32


def request(generation: int = 1, ports: tuple[int, ...] = PORTS, **options: Any) -> dict[str, Any]:
    return volume_request(region_request(ports, generation, blocks=100, extents=20, **options))


def changed(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A good request after a change to its region."""
    vcr = copy.deepcopy(request())
    change(vcr["sub_volumes"][0])
    return vcr


def test_a_full_request_says_all_it_holds() -> None:
    volume = parse(json.dumps(request(7, flush_timeout=0.25, key=SECRET, control="127.0.0.1:7000")))
    (region,) = volume.regions()
    assert (volume.id, volume.block_size, volume.blocks) == (UUID(VOLUME), 512, 2000)
    assert (region.generation, region.blocks_per_extent, region.extent_count) == (7, 100, 20)
    assert [str(target) for target in region.options.targets] == [f"127.0.0.1:{port}" for port in PORTS]
    assert (region.options.flush_timeout, region.options.key) == (0.25, SECRET)


def test_optional_fields_may_be_missing_and_unknown_ones_are_ignored() -> None:
    vcr = changed(lambda region: region["opts"].pop("key"))
    vcr.pop("read_only_parent")
    vcr["colour"] = "blue"
    assert parse(vcr).regions()[0].options.key is None


def test_a_bare_region_becomes_a_volume_of_its_own() -> None:
    volume = parse(request()["sub_volumes"][0])
    assert len(volume.sub_volumes) == 1
    assert volume.id != UUID(VOLUME)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda region: region.pop("blocks_per_extent"), "missing field `blocks_per_extent`"),
        (lambda region: region.update(gen="5"), 'gen: invalid type: string "5", expected u64'),
        (lambda region: region.update(gen=-1), "gen: invalid value: integer `-1`, expected u64"),
        (lambda region: region.update(extent_count=2**32), "extent_count: invalid value: integer `4294967296`"),
        (lambda region: region.update(block_size=1000), "block_size must be a power of two"),
        (lambda region: region.update(extent_count=0), "must be at least 1"),
        (lambda region: region.update(type="planet"), "unknown variant `planet`, expected one of `volume`"),
        (lambda region: region.update(type="url"), "type `url` is not served"),
        (lambda region: region.update(opts=[]), "invalid type: sequence, expected struct CrucibleOpts"),
        (lambda region: region["opts"].update(id="x"), "id: UUID parsing failed"),
        (lambda region: region["opts"].update(target=["localhost:1"] * 3), "invalid socket address syntax"),
        (lambda region: region["opts"].update(target=["127.0.0.1:99999"] * 3), "invalid socket address syntax"),
        (lambda region: region["opts"].update(target=[1, 2, 3]), "target: invalid type: integer `1`"),
        (lambda region: region["opts"].update(lossy="no"), "lossy: invalid type"),
        (lambda region: region["opts"].update(flush_timeout="1"), "flush_timeout: invalid type"),
        (lambda region: region["opts"].update(cert_pem="/x"), "cert_pem"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_found(change: Callable[[dict[str, Any]], None], text: str) -> None:
    with pytest.raises(RequestError) as refusal:
        parse(changed(change))
    assert text in str(refusal.value)
    assert not refusal.value.panics


@pytest.mark.parametrize(
    ("change", "real"),
    [
        (
            lambda region: region["opts"].update(target=["127.0.0.1:3810", "127.0.0.1:3820"]),
            "assertion `left == right` failed: bad targets [127.0.0.1:3810, 127.0.0.1:3820]\n  left: 2\n right: 3",
        ),
        (lambda region: region["opts"].update(key="c2hvcnQ="), "Key length must be 32 bytes!"),
        (lambda region: region["opts"].update(key="?" * 44), "could not base64 decode key!"),
    ],
)
def test_what_the_real_program_aborts_on_says_so_with_its_text(
    change: Callable[[dict[str, Any]], None], real: str
) -> None:
    with pytest.raises(RequestError) as refusal:
        parse(changed(change))
    assert refusal.value.panics
    assert refusal.value.real == real


@on_loop
async def test_pieces_of_another_block_size_are_refused_when_the_volume_is_built() -> None:
    vcr = request()
    vcr["block_size"] = 4096
    with pytest.raises(RequestError) as refusal:
        Upstairs(parse(vcr), log=Notes())
    assert refusal.value.real == "Block size mismatch"


def test_a_fraction_of_a_second_breaks_the_parser_of_2023_only() -> None:
    vcr = request(flush_timeout=0.5)
    assert parse(vcr).regions()[0].options.flush_timeout == 0.5
    with pytest.raises(RequestError, match=r"floating point `0\.5`, expected u32"):
        parse(vcr, 1)


def test_addresses_of_ip_version_6_need_brackets() -> None:
    good = changed(lambda region: region["opts"].update(target=["[::1]:8810", "[::1]:8820", "[::1]:8830"]))
    assert str(parse(good).regions()[0].options.targets[0]) == "[::1]:8810"
    with pytest.raises(RequestError):
        parse(changed(lambda region: region["opts"].update(target=["::1:8810"] * 3)))


def test_a_key_is_never_shown() -> None:
    for bad in ("a2tra2tra2tra2tra2tr", "not base64 but secret!"):
        with pytest.raises(RequestError) as refusal:
            parse(changed(lambda region, key=bad: region["opts"].update(key=key)))
        assert bad not in str(refusal.value) + refusal.value.real
    shown = repr(parse(request(key=SECRET)))
    assert "kkkk" not in shown
    with pytest.raises(ReplaceError) as refusal_of_key:
        compare(parse(request(key=SECRET)), parse(request(2, key=b"l" * 32)))
    assert str(refusal_of_key.value) == "Invalid downstairs replace sub_volume opts key invalid"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_any_json_is_a_request_or_an_error_of_ours(value: Any) -> None:
    try:
        parse(value)
    except RequestError:
        return
    pytest.fail("that was no request")


places = st.sampled_from(
    [("gen",), ("block_size",), ("extent_count",), ("type",), ("opts",), ("opts", "id"), ("opts", "target"),
     ("opts", "key"), ("opts", "read_only"), ("opts", "flush_timeout"), ("opts", "control")]
)  # fmt: skip


@given(places, json_values)
def test_any_value_in_any_place_gives_a_request_or_an_error_of_ours(place: tuple[str, ...], value: Any) -> None:
    def put(region: dict[str, Any]) -> None:
        inside = region
        for name in place[:-1]:
            inside = inside[name]
        inside[place[-1]] = value

    with contextlib.suppress(RequestError):
        assert isinstance(parse(changed(put)), VolumeRequest)


def two(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return volume_request(first, second)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (request(), request(), "The VCRs have no difference"),
        (request(2), request(1), "New sub_volume generation too low 2 vs. 1"),
        (request(), {**request(), "id": str(UUID(int=5))}, f"ID mismatch {VOLUME} vs. {UUID(int=5)}"),
        (
            request(),
            request(2, (3811, 3821, 3830)),
            "sub_volume multiple different targets: [127.0.0.1:3810, 127.0.0.1:3820, 127.0.0.1:3830] vs. "
            "[127.0.0.1:3811, 127.0.0.1:3821, 127.0.0.1:3830]",
        ),
        (
            request(),
            volume_request(region_request(PORTS, 2, blocks=100, extents=10)),
            "sub_volume extent_count mismatch",
        ),
        (request(), two(region_request(PORTS, 2), region_request(PORTS, 2)), "subvolume len mismatch"),
        (request(), request(2, read_only=True), "sub_volume opts read_only mismatch False vs. True"),
        (
            request(),
            volume_request(request(2)["sub_volumes"][0], parent=region_request(PORTS)),
            "VCR added where there should not be one",
        ),
        (
            two(region_request(PORTS), region_request(PORTS)),
            two(region_request((1, 3820, 3830)), region_request((1, 3820, 3830))),
            "Multiple target changes",
        ),
        (
            volume_request(region_request(PORTS), parent=region_request(PORTS)),
            volume_request(region_request(PORTS), parent=region_request(PORTS, 2)),
            "ROP has generation bump!",
        ),
        (request(), volume_request(request()), "Cannot replace VCR"),
    ],
)
def test_a_replacement_that_is_not_allowed_is_refused_with_the_real_text(
    old: dict[str, Any], new: dict[str, Any], text: str
) -> None:
    with pytest.raises(ReplaceError) as refusal:
        compare(parse(old), parse(new))
    assert str(refusal.value) == f"Invalid downstairs replace {text}"


def test_only_a_higher_generation_is_a_difference_without_a_target() -> None:
    difference = compare(parse(request(1)), parse(request(2)))
    assert (difference.generation, difference.target) == (True, None)
    compare_for_migration(parse(request(1)), parse(request(2)))


def test_one_other_target_is_named_with_what_goes_and_what_comes() -> None:
    difference = compare(parse(request()), parse(request(1, (3810, 3820, 3840))))
    assert difference.target is not None
    assert [str(address) for address in difference.target[1:]] == ["127.0.0.1:3830", "127.0.0.1:3840"]
    with pytest.raises(ReplaceError, match="VCR targets are different"):
        compare_for_migration(parse(request()), parse(request(2, (3810, 3820, 3840))))


def test_a_target_of_a_nested_volume_cannot_be_replaced() -> None:
    old, new = volume_request(request()), volume_request(request(1, (3810, 3820, 3840)))
    with pytest.raises(ReplaceError, match="Unsupported multi level CompareResult"):
        compare(parse(old), parse(new))


@given(st.permutations(range(3)))
def test_targets_are_compared_by_their_place(order: list[int]) -> None:
    shuffled = tuple(PORTS[place] for place in order)
    if shuffled == PORTS:
        return
    with pytest.raises(ReplaceError, match="multiple different targets"):
        compare(parse(request()), parse(request(2, shuffled)))


def test_an_io_error_keeps_what_the_real_program_would_have_said() -> None:
    assert IoError("longer text", real="short").real == "short"
    assert IoError("text").real == "text"
