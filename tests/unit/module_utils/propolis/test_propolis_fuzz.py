# SPDX-License-Identifier: GPL-3.0-or-later
"""Every parser of the Propolis part under fuzz: a value or an error of ours, never a traceback, never a hang.

``HYPOTHESIS_PROFILE=fuzz FUZZ=N`` makes N examples of each.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.ansible_migration import migration_options, read_move
from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from ansible_collections.apiary.propolis.plugins.module_utils.propolis import server_probe
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.address import Address
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.client import Answer, Client, _Raw
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.diagnosis import read_log, reasons
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects.seed import SeedDialect
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects.spec import (
    KNOWN_VERSIONS,
    SpecDialect,
    parse_version,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import Side
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.redaction import redact, scrub, secrets_in
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.serial import read_history
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.serial_output import Output, compile_pattern
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.serial_socket import read_move as read_frame
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server_config import config_text
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_description import (
    Description,
    DiskRequest,
    NicRequest,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_drift import differences
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_volume import (
    check_volume,
    read_embedded_volume,
    read_volume,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.values import Value
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors.identity import command_line, start_time
from ansible_collections.apiary.propolis.plugins.module_utils.supervisors.process import ProcessSupervisor
from fuzzing import STRANGERS, as_json, broken, mangled, nested, understood
from hypothesis import example, given
from hypothesis import strategies as st

KEY = "A" * 43 + "="
AT = Address.parse("127.0.0.1:8000")
DIALECTS = (*map(SpecDialect, KNOWN_VERSIONS), SeedDialect())
PROPERTIES = {"instance": {"properties": samples.properties(), "state": "Running", "disks": [], "nics": []}}
SEED_PROPERTIES = {"instance": {"properties": samples.seed_properties(), "state": "Migrating", "disks": [], "nics": []}}
RECORD = {"id": "3a1f7a52-0d0f-4f8e-9b7b-5d4f4a0c1c03", "state": "RamPush"}
MIGRATION = {"migration_in": RECORD, "migration_out": {**RECORD, "state": "Finish"}}
MONITOR = {"gen": 7, "state": "Running", "migration": MIGRATION}
REFUSAL = {"request_id": "fad5c3df", "error_code": "NoInstance", "message": "Server not initialized (no instance)"}
SPECS = ({"spec": {"type": "Present", "value": samples.instance_spec()}}, {"spec": samples.seed_spec()})
HISTORY = {"data": list(b"login: "), "last_byte_offset": 7}
TRUE = (PROPERTIES, SEED_PROPERTIES, MIGRATION, MONITOR, {"state": "Sync"}, samples.volume_info(), *SPECS)
BODIES = tuple(map(as_json, (*TRUE, REFUSAL, HISTORY)))


def readers() -> Iterator[Callable[[Value], Any]]:
    """Every reader of every dialect."""
    for dialect in DIALECTS:
        yield from (dialect.read_instance, dialect.read_spec, dialect.read_monitor, dialect.read_disk_status)
        for side in (None, *Side):
            yield lambda value, dialect=dialect, side=side: dialect.read_migration_status(value, RECORD["id"], side)


# -- answers of servers ------------------------------------------------------------------------------------------------


@given(broken(*TRUE))
def test_an_answer_of_any_age_is_read_or_refused(raw: Any) -> None:
    for read in readers():
        understood(read, Value(raw, "a test"))


@given(mangled(*BODIES), st.sampled_from([200, 201, 204, 301, 400, 404, 424, 500, 999]))
def test_any_body_is_an_answer_or_refused(body: bytes, status: int) -> None:
    raw = _Raw(status, "application/json", None, body)
    found = understood(Client(AT)._understand, "GET /instance", raw, {KEY})
    if found is not None:
        for read in readers():
            understood(read, found.value())
    assert server_probe._understand(AT, status, body).answering in server_probe.Answering


@pytest.mark.parametrize("body", STRANGERS)
def test_what_other_programs_say_is_no_instance(body: bytes) -> None:
    found = understood(Client(AT)._understand, "GET /instance", _Raw(200, "text/html", None, body), set())
    assert found is None or all(understood(dialect.read_instance, found.value()) is None for dialect in DIALECTS)


@given(broken(REFUSAL), st.sampled_from([400, 424, 500]))
def test_a_refusal_is_told_without_the_key_that_it_repeats(raw: Any, status: int) -> None:
    body = as_json(raw).replace(b"initialized", KEY.encode())
    with pytest.raises(CollectionError) as caught:
        Client(AT)._understand("PUT /instance", _Raw(status, "application/json", None, body), {KEY})
    assert KEY not in caught.value.message
    assert KEY not in json.dumps(caught.value.as_dict())


@given(broken(HISTORY))
def test_the_history_of_a_console_is_read_or_refused(raw: Any) -> None:
    class Answering:
        dialect = DIALECTS[0]

        class client:  # noqa: N801 - stands for an attribute
            @staticmethod
            def call(method: str, path: str) -> Answer:
                return Answer(200, raw, f"{method} {path}")

    understood(read_history, Answering(), from_start=0)  # type: ignore[arg-type]


@given(mangled(as_json({"Migrating": {"destination": "127.0.0.1:8000", "from_start": 7}})) | st.sampled_from(STRANGERS))
def test_a_frame_of_a_console_tells_of_a_move_or_of_nothing(frame: bytes) -> None:
    understood(read_frame, frame)


@given(st.lists(mangled(b"login: \x1b[0m\r\n\xc3\xa9"), max_size=8), st.sampled_from([r"login: $", r"^\S+", r"\w{3,}"]))
def test_any_output_of_a_console_is_searched(pieces: list[bytes], expect: str) -> None:
    with Output(compile_pattern(expect)) as output:
        for piece in pieces:
            output.add(piece)
            output.search()
        assert isinstance(output.tail, str)


@example("[" * 5000)
@example("(" * 5000)
@example("a{99999999999999999999}")
@given(st.text(max_size=20))
def test_a_pattern_is_understood_or_refused(text: str) -> None:
    understood(compile_pattern, text)


# -- what servers and hosts leave in files -----------------------------------------------------------------------------

LOG = (
    b'{"msg":"failed to create VM with reservoir: not enough","v":0}\n'
    b"Generation number is too low: requested 5, found 6\nreplacement component {x} not in source spec\n"
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


@given(raw=mangled(LOG), start=st.integers(0, 10**6))
def test_any_log_has_reasons_or_none(folder: Path, raw: bytes, start: int) -> None:
    (folder / "server.log").write_bytes(raw)
    assert all(isinstance(reason, str) for reason in reasons(read_log(folder / "server.log", start)))


STATE = {"pid": 1, "start_time": "boot/7", "argv": ["propolis-server"], "log": "/x.log", "log_offset": 0}


@example(raw=b"\xb9" + b"9" * 5000)
@given(raw=mangled(as_json(STATE)) | broken(STATE).map(as_json) | st.sampled_from([*STRANGERS, b'{"pid":1e999}']))
def test_a_state_file_of_a_service_is_read_or_refused(folder: Path, raw: bytes) -> None:
    (folder / "vm0.json").write_bytes(raw)
    understood(ProcessSupervisor(folder).status, "vm0")


@given(raw=mangled(b"7 (a ) b) S " + b" ".join(b"%d" % n for n in range(40))), psinfo=st.binary(max_size=300))
def test_any_line_of_proc_names_a_process_or_none(folder: Path, raw: bytes, psinfo: bytes) -> None:
    for pid, name, content in ((7, "stat", raw), (8, "psinfo", psinfo)):
        (folder / str(pid)).mkdir(exist_ok=True)
        (folder / str(pid) / name).write_bytes(content)
        found = start_time(pid, folder)
        assert found is None or isinstance(found, str)
        assert isinstance(command_line(pid, folder), str)


# -- what users write --------------------------------------------------------------------------------------------------

DESCRIPTION = {
    "cpus": 4,
    "memory_mib": 1024,
    "disks": [samples.disk_request()],
    "nics": [{"name": "vnic0", "slot": 1}],
    "boot_order": ["disk0"],
    "smbios": {"manufacturer": "m", "product_name": "p", "serial_number": "s", "version": 1},
    "metadata": {"sled_serial": "x"},
    "description": "d",
    "cloud_init": "aGVsbG8=",
}


@given(broken(DESCRIPTION))
def test_a_description_of_a_machine_is_understood_or_refused(raw: Any) -> None:
    found = understood(Description.from_json, raw)
    if found is not None:
        for dialect in DIALECTS:
            understood(dialect.ensure, samples.INSTANCE_ID, "vm0", found)


@given(broken(samples.disk_request()), broken({"name": "vnic0", "slot": 1, "interface_id": samples.INSTANCE_ID}))
def test_requests_of_disks_and_nics_are_understood_or_refused(disk: Any, nic: Any) -> None:
    understood(DiskRequest.from_json, disk, "disks[0]")
    understood(NicRequest.from_json, nic, "nics[0]")


@given(broken({**samples.vcr(), "key": KEY}))
def test_a_construction_request_is_read_or_refused_and_its_key_never_shown(raw: Any) -> None:
    for read, given_value in (
        (read_volume, Value(raw, "a test")),
        (read_embedded_volume, Value(as_json(raw).decode(), "a test")),
        (read_embedded_volume, Value(raw, "a test")),
    ):
        volume = understood(read, given_value)
        found = differences(volume, check_volume(samples.vcr(), "a test")) if volume else []
        assert not any(KEY in text for one in found for text in (one.place, one.one, one.other))
    understood(check_volume, raw, "disk 0")


@given(broken({"components": {"disk": {"component": {"request_json": samples.request_json()}}, "key": KEY}}))
def test_anything_can_be_redacted(raw: Any) -> None:
    assert KEY not in json.dumps(
        redact({"key": KEY, "rest": None, **({"raw": raw} if KEY not in as_json(raw).decode() else {})})
    )
    assert isinstance(scrub(as_json(raw).decode(), secrets_in(raw)), str)


MOVE: dict[str, Any] = {
    **{name: option.get("default") for name, option in migration_options().items()},
    "instance": {"id": samples.INSTANCE_ID, "name": "vm0"},
    "source": {"name": "alpha", "address": "127.0.0.1:8000"},
    "destination": {"name": "beta", "address": "127.0.0.2:8000"},
    "servers": [],
    "disks": [{"name": "disk0", "volume_construction_request": samples.vcr(), "generation": 1}],
}


@given(broken(samples.vcr()), st.none() | st.integers(), st.text(max_size=20))
def test_a_move_is_understood_or_refused(request_: Any, generation: int | None, text: str) -> None:
    disk = {"name": "disk0", "volume_construction_request": request_, "generation": generation}
    # Ansible itself refuses what is no mapping there.
    if isinstance(request_, dict):
        understood(read_move, {**MOVE, "disks": [disk]})
    understood(read_move, {**MOVE, "source": {"name": "alpha", "address": text}})
    understood(read_move, {**MOVE, "migration_id": text})
    understood(read_move, {**MOVE, "instance": {"id": text, "name": text}})


@example("A" * 5000 + "://")
@example("\u2100" * 3000)
@given(st.text() | mangled(b"http://[fd00::1]:8000", b"172.20.3.73:8000").map(lambda raw: raw.decode(errors="replace")))
def test_an_address_is_read_or_refused(text: str) -> None:
    understood(Address.parse, text)


@given(st.text(max_size=12) | st.from_regex(r"\d{0,12}\.\d{0,12}\.\d{0,12}"))
def test_a_version_is_read_or_refused(text: str) -> None:
    understood(parse_version, text)


CONFIG = {"bootrom": "/b", "block_dev": {"b": {"type": "file", "path": "/x", "readonly": True}}, "dev": {"d": {"x": 1}}}


@given(broken(CONFIG) | nested(["bootrom", "block_dev"]))
def test_a_configuration_is_written_or_refused(raw: Any) -> None:
    if isinstance(raw, dict):  # Ansible itself refuses the rest
        understood(config_text, raw)
