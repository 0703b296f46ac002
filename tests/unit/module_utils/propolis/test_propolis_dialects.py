# SPDX-License-Identifier: GPL-3.0-or-later
"""Both families of dialects: what they write against the API documents, what they read against recorded answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects import (
    KNOWN_VERSIONS,
    MigrationTarget,
    Request,
    SeedDialect,
    SpecDialect,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects.base import Dialect
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import (
    AlreadyInitialized,
    ApiError,
    BadDescription,
    NoInstance,
    NoMigration,
    NotPropolis,
    OtherMigration,
    StateChangeRefused,
    UnsupportedDialect,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import (
    Change,
    Instance,
    MigrationRecord,
    MigrationStatus,
    Phase,
    Side,
    Spec,
    State,
    disk_session,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server import renamed
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_description import Description
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_requests import instance_description
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_volume import check_volume
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.values import Value
from hypothesis import given
from hypothesis import strategies as st
from recordings import http_transcript, openapi
from recordings.http_events import Answer, Exchange
from shared import needs_shared, recordings

NICS = [{"name": "vnic_prop0", "slot": 0}]
TODAY = SpecDialect("5.0.0")
SEED = SeedDialect()
STATUS = "GET /instance/migrate/status"


def description(**more: Any) -> Description:
    return Description.from_json(instance_description({**samples.INSTANCE, **more}, [samples.disk_request()]))


def body(request: Request) -> Any:
    """What goes over the wire, parsed again."""
    return json.loads(json.dumps(request.body))


def read(dialect: Dialect, answer: Any) -> Instance:
    return dialect.read_instance(Value(answer, "a test"))


def spec_today(spec: dict[str, Any] | None = None) -> Spec:
    shown = {"spec": {"type": "Present", "value": spec or samples.instance_spec()}}
    found = TODAY.read_spec(Value(shown, "a test"))
    assert found is not None
    return found


def spec_seed(spec: dict[str, Any] | None = None) -> Spec:
    found = SEED.read_spec(Value({"spec": spec or samples.seed_spec()}, "a test"))
    assert found is not None
    return found


def target(source: Instance, spec: Spec, **changes: Any) -> MigrationTarget:
    backend = spec.crucible_disks[0].backend
    parts: dict[str, Any] = {
        "id": samples.DESTINATION_ID,
        "name": "vm0",
        "migration_id": samples.MIGRATION_ID,
        "source_address": "172.20.3.73:8000",
        "source": source,
        "spec": spec,
        "volumes": {backend: check_volume(samples.vcr(2), "x")},
    }
    return MigrationTarget(**{**parts, **changes})


def instance_today() -> Instance:
    return read(TODAY, {"instance": {"properties": samples.properties(), "state": "Running"}})


def instance_seed() -> Instance:
    instance = {"properties": samples.seed_properties(), "state": "Running", "disks": [], "nics": []}
    return read(SEED, {"instance": instance})


class TestWhatIsWritten:
    def test_the_by_hand_machine_is_made_with_the_body_of_propolis_cli_of_today(self) -> None:
        request = TODAY.ensure(samples.INSTANCE_ID, "vm0", description())
        assert (request.method, request.path) == ("PUT", "/instance")
        assert body(request) == samples.ensure_today()

    def test_the_by_hand_machine_is_made_with_the_body_of_propolis_cli_of_2023(self) -> None:
        request = SEED.ensure(samples.INSTANCE_ID, "vm0", description(nics=NICS))
        assert body(request) == samples.ensure_seed()

    def test_the_by_hand_machine_is_moved_with_the_body_of_propolis_cli_of_today(self) -> None:
        assert body(TODAY.ensure_migration_target(target(instance_today(), spec_today()))) == samples.migrate_today()

    def test_the_by_hand_machine_is_moved_with_the_body_of_propolis_cli_of_2023(self) -> None:
        vnics = {"vnic-0.8.0-backend": "vnic_prop1"}
        request = SEED.ensure_migration_target(target(instance_seed(), spec_seed(), vnics=vnics))
        assert body(request) == samples.migrate_seed()

    @needs_shared
    @pytest.mark.parametrize("version", KNOWN_VERSIONS)
    def test_each_version_documents_allow_what_is_written_for_it(self, version: str) -> None:
        dialect = SpecDialect(version)
        document = openapi.document(version)
        more: dict[str, Any] = {"cloud_init": "AAAA", "boot_order": ["helios-blockdev"]}
        if version != "1.0.0":
            more["smbios"] = {"manufacturer": "m", "product_name": "p", "serial_number": "s", "version": 1}
        requests = [
            dialect.ensure(samples.INSTANCE_ID, "vm0", description(nics=NICS, **more)),
            dialect.ensure_migration_target(target(instance_today(), spec_today())),
            dialect.monitor(4),
            *(dialect.change_state(change) for change in (Change.RUN, Change.STOP, Change.REBOOT)),
            dialect.migration_status(None, None),
            dialect.disk_status(spec_today().disks[0]),
        ]
        for request in requests:
            assert request is not None
            openapi.validate_request(document, request.method, request.path, body(request))

    @needs_shared
    def test_the_document_of_2023_allows_what_is_written_for_it(self) -> None:
        document = openapi.document("2023-01")
        requests = [
            SEED.ensure(samples.INSTANCE_ID, "vm0", description(nics=NICS, cloud_init="AAAA")),
            SEED.ensure_migration_target(target(instance_seed(), spec_seed())),
            SEED.monitor(4),
            *(SEED.change_state(change) for change in Change),
            SEED.migration_status(samples.MIGRATION_ID, Side.IN),
        ]
        for request in requests:
            assert request is not None
            openapi.validate_request(document, request.method, request.path, body(request))

    def test_nothing_of_smbios_is_sent_to_version_1_which_refuses_unknown_members(self) -> None:
        request = SpecDialect("1.0.0").ensure(samples.INSTANCE_ID, "vm0", description())
        assert body(request) == samples.without(samples.ensure_today(), "init", "value", "spec", "smbios")

    @pytest.mark.parametrize(
        "member",
        [
            {"boot_order": ["helios-blockdev"]},
            {"enable_pcie": True},
            {"smbios": {"manufacturer": "m", "product_name": "p", "serial_number": "s", "version": 1}},
        ],
    )
    def test_what_servers_of_2023_would_leave_out_without_a_word_is_refused(self, member: dict[str, Any]) -> None:
        with pytest.raises(BadDescription, match=next(iter(member))):
            SEED.ensure(samples.INSTANCE_ID, "vm0", description(**member))

    def test_a_secret_is_in_no_representation_of_a_request(self) -> None:
        assert samples.VOLUME_ID not in repr(TODAY.ensure(samples.INSTANCE_ID, "vm0", description()))
        assert "gen=2" not in repr(target(instance_today(), spec_today()))


class TestMigrationTargets:
    def test_a_disk_without_a_new_request_is_refused_because_the_machine_would_be_lost(self) -> None:
        for dialect, source, spec in ((TODAY, instance_today(), spec_today()), (SEED, instance_seed(), spec_seed())):
            with pytest.raises(BadDescription, match="higher generation"):
                dialect.ensure_migration_target(target(source, spec, volumes={}))

    def test_a_request_for_a_disk_that_is_not_there_is_refused(self) -> None:
        volume = check_volume(samples.vcr(2), "x")
        volumes = {"helios-blockdev-backend": volume, "nosuch": volume}
        with pytest.raises(BadDescription, match="nosuch is not a Crucible backend"):
            target(instance_today(), spec_today(), volumes=volumes).check()

    def test_a_nic_that_is_not_there_is_refused_and_one_that_is_can_be_renamed(self) -> None:
        with pytest.raises(BadDescription, match="nosuch is not a NIC"):
            target(instance_today(), spec_today(), vnics={"nosuch": "vnic1"}).check()
        made = TODAY.ensure(samples.INSTANCE_ID, "vm0", description(nics=NICS))
        spec = spec_today(body(made)["init"]["value"]["spec"])
        request = TODAY.ensure_migration_target(target(instance_today(), spec, vnics={"vnic_prop0-backend": "vnic9"}))
        replaced = body(request)["init"]["value"]["replace_components"]["vnic_prop0-backend"]
        assert replaced == {"component": "VirtioNetworkBackend", "spec": {"vnic_name": "vnic9"}}

    def test_a_cloud_init_disk_cannot_be_moved_in_2023(self) -> None:
        spec = samples.seed_spec()
        spec["devices"]["storage_devices"]["cloud-init"] = {
            "kind": "virtio",
            "backend_name": "cloud-init",
            "pci_path": {"bus": 0, "device": 24, "function": 0},
        }
        spec["backends"]["storage_backends"]["cloud-init"] = {"kind": {"in_memory": {"base64": ""}}, "readonly": True}
        with pytest.raises(BadDescription, match="cloud-init"):
            SEED.ensure_migration_target(target(instance_seed(), spec_seed(spec)))

    def test_an_instance_can_be_given_another_identity(self) -> None:
        other = renamed(instance_today(), id=samples.DESTINATION_ID, name="vm1")
        assert (other.id, other.name, other.metadata) == (samples.DESTINATION_ID, "vm1", instance_today().metadata)


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


class TestRefusals:
    @pytest.mark.parametrize(
        ("dialect", "asked", "refusal", "kind"),
        [
            (TODAY, "GET /instance", (424, "NoInstance", "Server not initialized (no instance)"), NoInstance),
            (TODAY, "GET /instance/state-monitor", (410, "NoInstance", "No instance present"), NoInstance),
            (TODAY, "PUT /instance", (409, "AlreadyInitialized", "instance already initialized"), AlreadyInitialized),
            (TODAY, "PUT /instance/state", (403, "state change not allowed: x", "Forbidden"), StateChangeRefused),
            (TODAY, "PUT /instance", (400, None, "failed to generate internal instance spec: x"), ApiError),
            (SEED, "GET /instance", (500, "Internal", "Internal Server Error"), NoInstance),
            (SEED, "PUT /instance", (500, "Internal", "Internal Server Error"), ApiError),
            (SEED, "PUT /instance/state", (400, None, "Instance operation failed: x"), StateChangeRefused),
            (SEED, STATUS, (400, None, "migration failed: no migration is currently in progress"), NoMigration),
            (SEED, STATUS, (400, None, "migration failed: unexpected Uuid"), OtherMigration),
            (SEED, STATUS, (400, None, "unable to parse JSON body"), ApiError),
        ],
    )
    def test_each_refusal_gets_its_class_and_keeps_its_words(
        self, dialect: Dialect, asked: str, refusal: tuple[int, str | None, str], kind: type[ApiError]
    ) -> None:
        status, code, message = refusal
        method, path = asked.split(" ")
        error = ApiError("sentence", status=status, error_code=code, api_message=message, request_id="r")
        found = dialect.explain(Request(method, path), error)
        assert type(found) is kind
        assert found.details == error.details
        assert found.message == "sentence"


class TestVersions:
    def test_later_versions_than_the_known_ones_are_spoken_like_the_newest(self) -> None:
        later = SpecDialect("17.2.0")
        assert later.api_version == later.label == "17.2.0"
        assert later.reports_generations
        assert body(later.ensure(samples.INSTANCE_ID, "vm0", description())) == samples.ensure_today()

    @pytest.mark.parametrize("text", ["", "5", "5.0", "v5.0.0", "0.9.0", "5.0.0-rc1", "٥.0.0", "5.0.0\n"])
    def test_a_word_that_is_no_version_is_refused(self, text: str) -> None:
        with pytest.raises(UnsupportedDialect):
            SpecDialect(text)


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
