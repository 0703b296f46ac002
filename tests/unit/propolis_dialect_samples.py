# SPDX-License-Identifier: GPL-3.0-or-later
"""The by-hand document's machine in both families of dialects, for the tests of what they write and read."""

from __future__ import annotations

import json
from typing import Any

import propolis_samples as samples
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects import (
    MigrationTarget,
    Request,
    SeedDialect,
    SpecDialect,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects.base import Dialect
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import (
    Instance,
    Spec,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_description import Description
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_requests import instance_description
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.spec_volume import check_volume
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.values import Value

NICS = [{"name": "vnic_prop0", "slot": 0}]
TODAY = SpecDialect("5.0.0")
SEED = SeedDialect()


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
