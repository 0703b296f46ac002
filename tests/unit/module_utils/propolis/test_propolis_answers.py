# SPDX-License-Identifier: GPL-3.0-or-later
"""What both families of dialects read: true answers, recorded answers, and answers with something wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects import (
    SpecDialect,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import (
    NotPropolis,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import (
    MigrationRecord,
    MigrationStatus,
    Phase,
    Side,
    State,
    disk_session,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.values import Value
from hypothesis import given
from hypothesis import strategies as st
from propolis_dialect_samples import (
    NICS,
    SEED,
    TODAY,
    body,
    description,
    instance_seed,
    instance_today,
    spec_seed,
    spec_today,
)
from recordings import http_transcript
from recordings.http_events import Answer, Exchange
from shared import needs_shared, recordings


class TestWhatIsRead:
    def test_an_instance_of_either_age_reads_alike(self) -> None:
        today, seed = instance_today(), instance_seed()
        assert (
            (today.id, today.name, today.state)
            == (seed.id, seed.name, seed.state)
            == (samples.INSTANCE_ID, "vm0", State.RUNNING)
        )
        assert today.metadata is not None
        assert today.metadata.sled_serial == "fake-serial"
        assert (seed.cpus, seed.memory_mib, seed.metadata) == (4, 1024, None)

    def test_a_spec_of_either_age_reads_alike(self) -> None:
        for spec, backend in ((spec_today(), "helios-blockdev-backend"), (spec_seed(), "helios-blockdev")):
            disk = spec.crucible_disks[0]
            assert (spec.cpus, spec.memory_mib) == (4, 1024)
            assert (disk.name, disk.backend, disk.device, disk.slot) == ("helios-blockdev", backend, "virtio", 1)
            assert str(disk.pci_path) == "0.17.0"
            assert disk.volume is not None
            assert (disk.volume.id, disk.volume.generation) == (samples.VOLUME_ID, 1)

    def test_version_1_wraps_its_spec(self) -> None:
        wrapped = {"version": "V0", "spec": samples.without(samples.instance_spec(), "smbios")}
        found = SpecDialect("1.0.0").read_spec(Value({"spec": {"type": "Present", "value": wrapped}}, "x"))
        assert found == spec_today()

    def test_a_destination_that_waits_for_its_source_has_no_spec_yet(self) -> None:
        assert TODAY.read_spec(Value({"spec": {"type": "WaitingForMigrationSource"}}, "x")) is None
        with pytest.raises(NotPropolis, match="Present"):
            TODAY.read_spec(Value({"spec": {"type": "Elsewhere"}}, "x"))

    def test_components_that_no_server_can_move_are_named(self) -> None:
        spec = samples.instance_spec()
        spec["components"]["bridge"] = {"type": "pci_pci_bridge", "component": {}}
        spec["components"]["sock"] = {"type": "virtio_socket", "component": {}}
        assert spec_today(spec).immovable == ("bridge", "sock")
        seed = samples.seed_spec()
        seed["devices"]["pci_pci_bridges"]["pci-bridge-1"] = {}
        assert spec_seed(seed).immovable == ("pci-bridge-1",)

    def test_file_and_blob_disks_have_no_volume(self) -> None:
        spec = samples.instance_spec()
        spec["components"]["helios-blockdev-backend"] = {
            "type": "file_storage_backend",
            "component": {"path": "/x", "readonly": True, "block_size": 512, "workers": None},
        }
        disk = spec_today(spec).disks[0]
        assert (disk.kind, disk.volume, spec_today(spec).crucible_disks) == ("file", None, ())

    def test_a_disk_whose_backend_is_missing_or_of_another_kind_is_no_answer_of_propolis(self) -> None:
        spec = samples.without(samples.instance_spec(), "components", "helios-blockdev-backend")
        with pytest.raises(NotPropolis):
            spec_today(spec)
        spec["components"]["helios-blockdev-backend"] = {"type": "serial_port", "component": {"num": "com1"}}
        with pytest.raises(NotPropolis):
            spec_today(spec)

    def test_network_cards_of_either_age_read_alike(self) -> None:
        made = body(TODAY.ensure(samples.INSTANCE_ID, "vm0", description(nics=NICS)))["init"]["value"]["spec"]
        for spec in (spec_today(made), spec_seed()):
            assert spec.nics[0].vnic == "vnic_prop0"
            assert spec.nics[0].pci_path.device == 8
        made["components"]["vnic_prop0-backend"]["type"] = "serial_port"
        with pytest.raises(NotPropolis):
            spec_today(made)
        seed = samples.seed_spec()
        seed["backends"]["network_backends"]["vnic-0.8.0-backend"] = {"kind": {"dlpi": {"vnic_name": "net0"}}}
        assert spec_seed(seed).nics[0].vnic == "net0"

    def test_a_migration_status_of_today_has_two_sides(self) -> None:
        answer = {"migration_in": {"id": samples.MIGRATION_ID, "state": "Finish"}, "migration_out": None}
        found = TODAY.read_migration_status(Value(answer, "x"), None, None)
        assert found == MigrationStatus(MigrationRecord(samples.MIGRATION_ID, Phase.FINISH), None)
        assert found.side(Side.IN) is found.incoming
        assert found.side(Side.OUT) is None

    def test_a_migration_status_of_2023_belongs_to_the_side_that_was_asked(self) -> None:
        value = Value({"state": "Device"}, "x")
        record = MigrationRecord(samples.MIGRATION_ID, Phase.DEVICE)
        assert SEED.read_migration_status(value, samples.MIGRATION_ID, Side.IN).incoming == record
        assert SEED.read_migration_status(value, samples.MIGRATION_ID, Side.OUT).outgoing == record
        assert SEED.migration_status(None, Side.IN) is None

    def test_the_monitor_of_2023_says_nothing_of_migrations(self) -> None:
        assert SEED.read_monitor(Value({"gen": 3, "state": "Running"}, "x")).migration is None
        answer = {"gen": 3, "state": "Running", "migration": {"migration_in": None, "migration_out": None}}
        assert TODAY.read_monitor(Value(answer, "x")).migration == MigrationStatus()

    def test_a_disk_status_below_version_5_tells_only_whether_it_is_active(self) -> None:
        status = SpecDialect("4.0.0").read_disk_status(Value({"active": True}, "x"))
        session = disk_session(spec_today().disks[0], status)
        assert (session.active, session.generation, session.state) == (True, 1, None)
        assert [one.state for one in session.targets] == ["unknown"] * 3

    def test_a_disk_status_of_version_5_tells_generation_and_targets(self) -> None:
        waiting = {"target_addr": None, "state": {"type": "connecting", "state": "wait_connect", "mode": "replaced"}}
        status = TODAY.read_disk_status(Value(samples.volume_info("go_active", 7, waiting), "x"))
        session = disk_session(spec_today().disks[0], status)
        assert (session.active, session.generation, session.floor, session.state) == (False, 7, 7, "go_active")
        assert session.targets[2].words == "connecting (wait_connect, replaced)"
        assert session.targets[0].words == "active"

    def test_a_request_that_was_raised_under_a_running_disk_raises_the_floor_only(self) -> None:
        spec = samples.instance_spec()
        spec["components"]["helios-blockdev-backend"]["component"]["request_json"] = samples.request_json(9)
        status = TODAY.read_disk_status(Value(samples.volume_info(generation=7), "x"))
        session = disk_session(spec_today(spec).disks[0], status)
        assert (session.generation, session.floor) == (7, 9)

    def test_parents_are_read_and_do_not_count_as_the_disks_generation(self) -> None:
        info = samples.volume_info(generation=2)
        info["volume_info"]["volume"]["read_only_parent"] = samples.volume_info(generation=99)["volume_info"]
        status = TODAY.read_disk_status(Value(info, "x"))
        assert [session.is_parent for session in status.sessions] == [False, True]
        assert disk_session(spec_today().disks[0], status).generation == 2

    def test_a_disabled_disk_is_fenced_and_an_unknown_one_is_not(self) -> None:
        status = TODAY.read_disk_status(Value(samples.volume_info("disabled"), "x"))
        assert disk_session(spec_today().disks[0], status).is_fenced
        assert not disk_session(spec_today().disks[0], None).is_fenced
        assert disk_session(spec_today().disks[0], None).active is None

    def test_a_volume_without_end_is_no_answer_of_propolis(self) -> None:
        info: dict[str, Any] = samples.volume_info()["volume_info"]
        for _unused in range(20):
            info = {"volume": {"sub_volumes": [info], "read_only_parent": None}}
        with pytest.raises(NotPropolis, match="at most 8"):
            TODAY.read_disk_status(Value({"volume_info": info}, "x"))

    def test_servers_of_2023_have_no_disk_status(self) -> None:
        assert SEED.disk_status(spec_seed().disks[0]) is None
        with pytest.raises(NotPropolis):
            SEED.read_disk_status(Value({}, "x"))

    def test_a_backend_name_is_quoted_in_a_path(self) -> None:
        spec = samples.instance_spec()
        spec["components"]["a/b c"] = spec["components"].pop("helios-blockdev-backend")
        spec["components"]["helios-blockdev"]["component"]["backend_id"] = "a/b c"
        request = TODAY.disk_status(spec_today(spec).disks[0])
        assert request is not None
        assert request.path == "/instance/disk/a%2Fb%20c/status"


def recorded_answers() -> Iterator[tuple[str, str, str, Any]]:
    """(place, path, api-version, body) of every whole 200 answer in the recordings of the real server."""
    for name in (
        "b-http-api",
        "b2-ensure-failures",
        "c1-migration-success",
        "c2-migration-generation",
        "f-api-versions",
    ):
        file = recordings / "transcripts" / "propolis" / f"{name}.txt"
        for event in http_transcript.read(file):
            if not isinstance(event, Exchange) or not isinstance(event.answer, Answer):
                continue
            request, answer = event.request, event.answer
            version = dict(request.headers).get("api-version")
            if request.method == "GET" and answer.status == 200 and answer.cut is None and version is not None:
                yield f"{file.name}:{event.line}", request.path, version, json.loads(answer.body)


@needs_shared
def test_every_recorded_answer_of_the_real_server_can_be_read() -> None:
    counts: Counter[str] = Counter()
    for place, path, version, answer in recorded_answers():
        dialect = SpecDialect(version) if version != "0.9.0" else TODAY
        value = Value(answer, f"{place}, GET {path}")
        last = path.rstrip("/").rpartition("/")[2]
        if last == "instance":
            dialect.read_instance(value)
        elif last == "spec":
            dialect.read_spec(value)
        elif last == "migration-status":
            dialect.read_migration_status(value, None, None)
        elif last == "state-monitor":
            dialect.read_monitor(value)
        elif last == "status":
            status = dialect.read_disk_status(value)
            assert bool(status.sessions) == dialect.reports_generations
        counts[last] += 1
    assert counts["instance"] > 20
    assert all(counts[name] > 2 for name in ("migration-status", "state-monitor", "status")), counts


WORDS = (
    *("instance", "properties", "id", "name", "state", "spec", "type", "value", "board", "components", "component"),
    *("volume_info", "upstairs", "volume", "targets", "devices", "backends", "gen", "migration", "migration_in"),
    *("active", "sub_volumes", "kind"),
)
broken = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["Present", "Running", "active"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=20,
)


@given(broken)
def test_any_json_is_an_answer_or_an_error_of_ours(raw: object) -> None:
    value = Value(raw, "a test")
    for dialect in (TODAY, SEED):
        for reader in (
            dialect.read_instance,
            dialect.read_spec,
            dialect.read_monitor,
            dialect.read_disk_status,
            lambda one, which=dialect: which.read_migration_status(one, None, Side.IN),
        ):
            try:
                reader(value)
            except NotPropolis as error:
                assert error.message.startswith("a test")  # noqa: PT017 - the readers may succeed too


@given(st.data())
def test_a_true_answer_with_one_wrong_place_is_an_answer_or_an_error_of_ours(data: st.DataObject) -> None:
    answers = [
        (TODAY.read_instance, {"instance": {"properties": samples.properties(), "state": "Running"}}),
        (TODAY.read_spec, {"spec": {"type": "Present", "value": samples.instance_spec()}}),
        (TODAY.read_disk_status, samples.volume_info()),
        (SEED.read_spec, {"spec": samples.seed_spec()}),
    ]
    reader, answer = data.draw(st.sampled_from(answers))
    places = list(_places(answer))
    inner, key = data.draw(st.sampled_from(places))
    inner[key] = data.draw(broken)
    try:
        reader(Value(answer, "a test"))
    except NotPropolis as error:
        assert samples.VOLUME_ID not in error.message  # noqa: PT017 - the readers may succeed too


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from _places(inner)
