# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filters and dialects make of the by-hand document's machine, against the written references, whole.

Also the servers between the ages, as their API documents describe them: each is refused by name.
"""

from __future__ import annotations

import json
import re
from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.filter import disk_request as one_filter
from ansible_collections.apiary.propolis.plugins.filter import disk_requests as all_filter
from ansible_collections.apiary.propolis.plugins.filter import instance_spec as spec_filter
from ansible_collections.apiary.propolis.plugins.filter import volume_construction_request as volume_filter
from ansible_collections.apiary.propolis.plugins.filter import with_generation as generation_filter
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.address import Address
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.client import Client
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects import detect
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import UnsupportedDialect
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_description import Description
from client_fakes import NO_INSTANCE, Reply, Said, http_server, refusal
from propolis_dialect_samples import SEED, TODAY, body, instance_seed, instance_today, spec_seed, spec_today, target
from recordings import openapi
from shared import needs_shared, recordings

pytestmark = needs_shared

MACHINE = {key: value for key, value in samples.INSTANCE.items() if key != "disks"}


def reference(section: str, number: int = 0) -> Any:
    """The JSON block of that number in a section of the reference on Propolis."""
    text = (recordings / "reference" / "propolis.md").read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(section)}[. ].*?(?=^#+ \d)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, section
    return json.loads(re.findall(r"```json\n(.*?)```", found[0], re.DOTALL)[number])


def described(**more: Any) -> Description:
    """The machine as a playbook makes it: each step with the filter that the roles use."""
    disks = all_filter.disk_requests([samples.DISK], samples.VOLUMES)
    return Description.from_json(spec_filter.instance_spec(MACHINE | more, disks))


def by_hand_request(generation: int) -> dict[str, Any]:
    """The disk request of the by-hand document, as the body of January 2023 in the reference holds it."""
    disk: dict[str, Any] = reference("2")["disks"][0]
    disk["volume_construction_request"]["sub_volumes"][0]["gen"] = generation
    return disk


def test_the_disk_request_is_the_documents_key_by_key_and_in_its_order() -> None:
    made = one_filter.disk_request(samples.DISK, samples.VOLUMES["helios"])
    assert made == by_hand_request(1)
    assert volume_filter.volume_construction_request(samples.VOLUMES["helios"]) == made["volume_construction_request"]
    assert generation_filter.with_generation(made, 13) == by_hand_request(13)


def test_the_machine_is_made_with_the_body_of_the_reference() -> None:
    assert body(TODAY.ensure(samples.INSTANCE_ID, "vm0", described())) == reference("1.3")


def test_the_machine_is_moved_with_the_body_of_the_reference() -> None:
    assert body(TODAY.ensure_migration_target(target(instance_today(), spec_today()))) == reference("1.4")


def test_the_machine_of_2023_is_made_and_moved_with_the_bodies_of_the_reference() -> None:
    made = SEED.ensure(samples.INSTANCE_ID, "vm0", described(nics=[{"name": "vnic_prop0", "slot": 0}]))
    assert body(made) == reference("2")
    vnics = {"vnic-0.8.0-backend": "vnic_prop1"}
    moved = SEED.ensure_migration_target(target(instance_seed(), spec_seed(), vnics=vnics))
    assert body(moved) == reference("2", 1)


OLD = {"properties": {**samples.seed_properties(), "metadata": samples.METADATA}, "disks": [], "nics": []}
NEW = {"properties": samples.properties()}


@pytest.mark.parametrize("holds", [True, False], ids=["with an instance", "without an instance"])
@pytest.mark.parametrize(
    ("month", "instance", "periods"),
    [
        ("2024-09", OLD, ("March to October 2024", "June 2024 to October 2025")),
        ("2024-12", NEW, ("October 2024 to October 2025", "June 2024 to October 2025")),
        ("2025-08", NEW, ("October 2024 to October 2025", "June 2024 to October 2025")),
    ],
)
def test_a_server_between_the_ages_is_recognised_and_refused_by_name(
    month: str, instance: dict[str, Any], periods: tuple[str, str], holds: bool
) -> None:
    document = openapi.document(month)
    answer = {"instance": {**instance, "state": "Running"}}
    openapi.validate(document, "InstanceGetResponse", answer)

    def serve(said: Said) -> Reply:
        """What the document promises; everything else is no path of that server."""
        path = said.path.partition("?")[0]
        if said.method.lower() not in document.content["paths"].get(path, {}):
            return refusal(404, "Not Found")
        return Reply(200, answer) if holds and path == "/instance" else NO_INSTANCE

    with http_server(serve) as address, pytest.raises(UnsupportedDialect) as refused:
        detect(Client(Address.parse(address), name="beta", timeout=5))
    period = periods[0 if holds else 1]
    assert f"is a propolis server of {period}" in refused.value.message
    assert "not supported yet. Supported are servers of January 2023" in refused.value.message
