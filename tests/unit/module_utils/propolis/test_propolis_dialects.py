# SPDX-License-Identifier: GPL-3.0-or-later
"""Both families of dialects: what they write against the API documents, and what they make of refusals."""

from __future__ import annotations

from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects import (
    KNOWN_VERSIONS,
    Request,
    SpecDialect,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects.base import Dialect
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import (
    AlreadyInitialized,
    ApiError,
    BadDescription,
    NoInstance,
    NoMigration,
    OtherMigration,
    StateChangeRefused,
    UnsupportedDialect,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import (
    Change,
    Side,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server import renamed
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_volume import check_volume
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
    target,
)
from recordings import openapi
from shared import needs_shared

STATUS = "GET /instance/migrate/status"


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
        assert found.__class__ is kind
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
