# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's server reads JSON as the real one does, and says the same when it cannot."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.server.deserialize import deserialize, socket_address_text, uuid_text
from propolis_lab.server.request_types import STATE_REQUEST, VCR_REQUEST, ensure_request
from propolis_lab.server.strict_json import JsonError, Kind, Node, parse
from server_fakes import ensure_body, spec

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def plain(node: Node) -> Any:
    if node.kind is Kind.ARRAY:
        return [plain(item) for item in node.items]
    if node.kind is Kind.OBJECT:
        return {member.name: plain(member.value) for member in node.members}
    return node.scalar


def message(body: bytes, reader: Any) -> str:
    with pytest.raises(JsonError) as caught:
        deserialize(body, reader)
    return caught.value.describe(body)


@given(JSON, st.booleans(), st.sampled_from([None, 2]))
def test_what_json_writes_is_read_back(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert plain(parse(text.encode("utf-8", "surrogatepass"))) == value


@given(st.binary(max_size=40))
def test_any_bytes_are_either_json_or_an_error_with_a_place_inside_the_text(data: bytes) -> None:
    offset = 0
    try:
        parse(data)
    except JsonError as error:
        offset = error.offset
    assert 0 <= offset <= len(data)


@given(JSON)
def test_a_value_knows_where_it_ends(value: Any) -> None:
    text = f"  {json.dumps(value)}  ".encode()
    node = parse(text)
    assert (node.start, node.end) == (2, len(text) - 2)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{not json", "key must be a string at line 1 column 2"),
        (b"", "EOF while parsing a value at line 1 column 0"),
        (b"{}", "missing field `properties` at line 1 column 2"),
    ],
)
def test_broken_bodies_are_refused_in_the_recorded_words(body: bytes, expected: str) -> None:
    assert message(body, ensure_request((5, 0, 0))) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'"run"', "unknown variant `run`, expected one of `Run`, `Stop`, `Reboot` at line 1 column 5"),
        (b'{"x": 1}', "unknown variant `x`, expected one of `Run`, `Stop`, `Reboot` at line 1 column 4"),
    ],
)
def test_unknown_states_are_refused_in_the_recorded_words(body: bytes, expected: str) -> None:
    assert message(body, STATE_REQUEST) == expected


def test_a_missing_field_is_noticed_behind_the_closing_brace() -> None:
    assert message(b"{}", VCR_REQUEST) == "missing field `vcr_json` at line 1 column 2"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda value: value["board"].update(nope=1),
            "init.value.spec.board.nope: unknown field `nope`, expected one of",
        ),
        (
            lambda value: value["board"].update(cpus=300),
            "board.cpus: invalid value: integer `300`, expected u8 at line 1",
        ),
        (
            lambda value: value["components"]["disk0"]["component"].update(pci_path="banana"),
            'component.pci_path: invalid type: string "banana", expected struct Raw at line 1 column',
        ),
        (
            lambda value: value["components"].update(zz={"type": "flux_capacitor", "component": {}}),
            "init.value.spec.components.zz.type: unknown variant `flux_capacitor`, expected one of `virtio_disk`,",
        ),
        (
            lambda value: value["components"]["disk0"]["component"]["pci_path"].update(device=32),
            "component.pci_path: PCI device 32 outside range of 0-31 at line 1 column",
        ),
    ],
)
def test_a_wrong_field_of_a_spec_is_named_with_its_path(change: Any, expected: str) -> None:
    the_spec = spec()
    change(the_spec)
    text = message(json.dumps(ensure_body(the_spec)).encode(), ensure_request((5, 0, 0)))
    assert expected in text


def test_version_1_refuses_smbios_and_version_2_takes_it() -> None:
    body = json.dumps(ensure_body({**spec(), "smbios": None})).encode()
    assert "unknown field `smbios`, expected `board` or `components`" in message(body, ensure_request((1, 0, 0)))
    assert deserialize(body, ensure_request((2, 0, 0))).init.smbios is None


def test_vsock_is_known_from_version_3_on() -> None:
    socket = {
        "type": "virtio_socket",
        "component": {"guest_cid": 3, "pci_path": {"bus": 0, "device": 9, "function": 0}},
    }
    body = json.dumps(ensure_body(spec(vsock=socket))).encode()
    assert "unknown variant `virtio_socket`" in message(body, ensure_request((2, 0, 0)))
    assert "vsock" in deserialize(body, ensure_request((3, 0, 0))).init.components


@given(st.uuids(), st.sampled_from(["{}", "{:s}", "urn:uuid:{}"]))
def test_uuids_are_read_in_all_their_forms(value: uuid.UUID, form: str) -> None:
    assert uuid_text(form.format(str(value))) == value
    assert uuid_text(value.hex.upper()) == value


@pytest.mark.parametrize("text", ["notauuid", "1234", "00000000-0000-0000-0000-00000000000", ""])
def test_what_is_no_uuid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="UUID parsing failed"):
        uuid_text(text)


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_addresses_with_ports_are_read(host: Any, port: int) -> None:
    assert socket_address_text(f"{host}:{port}") == (str(host), port)


@pytest.mark.parametrize(
    "text", ["banana", "127.0.0.1", "127.0.0.1:99999", "localhost:80", "[::1]", "::1:80", "1.2.3:4"]
)
def test_host_names_and_halves_of_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^invalid socket address syntax$"):
        socket_address_text(text)


def test_ipv6_addresses_stand_in_brackets() -> None:
    assert socket_address_text("[::1]:12400") == ("::1", 12400)
