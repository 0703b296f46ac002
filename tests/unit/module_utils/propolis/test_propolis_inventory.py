# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the instances of an inventory, and with what is asked for them, said before anything is done."""

from __future__ import annotations

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.inventory import (
    generation_problems,
    instance_problems,
    move_problems,
)

HOSTS = ["alpha", "beta"]
VOLUMES = {"boot": {}, "data": {}, "tools": {"read_only": True}}
VM0 = {
    "id": "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01",
    "vcpus": 4,
    "memory_mib": 1024,
    "disks": [{"volume": "boot", "device": "virtio", "slot": 1}],
    "host": "alpha",
    "port": 8000,
}
OTHER_ID = "1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a02"


def problems(names=(), **changes):
    changed = {key: value for key, value in (VM0 | changes).items() if value is not ...}
    return instance_problems({"vm0": changed}, VOLUMES, names, HOSTS)


def test_an_instance_that_can_be_has_no_problem():
    assert problems() == []
    assert problems(port=..., disks=...) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"id": ...}, "propolis_instances.vm0.id is missing; expected a uuid."),
        ({"id": "vm0"}, "propolis_instances.vm0.id is 'vm0'; expected a uuid."),
        ({"vcpus": ...}, "propolis_instances.vm0.vcpus is missing; expected a number of processors."),
        ({"memory_mib": ...}, "propolis_instances.vm0.memory_mib is missing; expected a number of MiB."),
        ({"host": "zeta"}, "propolis_instances.vm0.host is 'zeta', which is not a host of the group propolis_servers"),
        ({"port": "http"}, "propolis_instances.vm0.port is 'http'; expected a port number from 1 to 65535."),
        ({"port": 65536}, "propolis_instances.vm0.port is 65536; expected a port number from 1 to 65535."),
        ({"vcpus": "many"}, "propolis_instances.vm0: spec.cpus"),
        ({"memory_mib": 0}, "propolis_instances.vm0: spec.memory_mib"),
        ({"vcpu": 2}, "propolis_instances.vm0: The instance has the member 'vcpu'; is 'vcpus' meant?"),
        ({"console": {"wait_for": "up"}}, "propolis_instances.vm0.console.wait_for is 'up'; it must be a dictionary"),
        ({"console": {"wait_for": {"expect": "("}}}, "expect is '(', which is not a regular expression"),
        (
            {"console": {"wait_for": {"expect": "up", "sent": []}}},
            "propolis_instances.vm0.console.wait_for has sent; it knows expect, send",
        ),
        ({"console": {"wait_for": {"send": ["sync"]}}}, "propolis_instances.vm0.console.wait_for.expect is None"),
        (
            {"console": {"wait_for": {"expect": "up", "send": "sync"}}},
            "propolis_instances.vm0.console.wait_for.send is 'sync'",
        ),
        (
            {"console": {"wait_for": {"expect": "up", "timeout": 0}}},
            "propolis_instances.vm0.console.wait_for.timeout is 0",
        ),
        ({"disks": "boot"}, "propolis_instances.vm0.disks is 'boot'; expected a list."),
        ({"disks": ["boot"]}, "propolis_instances.vm0.disks[0] is 'boot'; expected a dictionary: {volume: NAME, slot"),
        (
            {"disks": [{"volume": "disk"}]},
            "propolis_instances.vm0.disks[0].volume is 'disk'; crucible_volumes has boot",
        ),
        ({"disks": [{"volume": "boot", "slot": 99}]}, "propolis_instances.vm0: disk boot.slot"),
        ({"disks": [{"volume": "boot", "device": "floppy"}]}, "propolis_instances.vm0: disk boot.device"),
        (
            {"disks": [{"volume": "boot", "slot": 1}, {"volume": "data", "slot": 1}]},
            "propolis_instances.vm0: spec.disks: data has the slot 1, which boot of the same instance has too",
        ),
        (
            {"disks": [{"volume": "boot"}, {"volume": "boot", "name": "again"}]},
            "propolis_instances.vm0.disks[1].volume is 'boot', which propolis_instances.vm0.disks[0] uses already",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence_with_its_place(changes, sentence):
    found = problems(**changes)
    assert len(found) == 1
    assert found[0].startswith(sentence)
    assert found[0].endswith((".", "?"))


def test_an_instance_that_is_no_dictionary_is_named():
    (found,) = instance_problems({"vm0": "alpha"}, VOLUMES, (), HOSTS)
    assert found.startswith("propolis_instances.vm0 is 'alpha'; expected a dictionary")


def test_two_instances_share_neither_an_id_nor_a_volume_but_may_share_one_that_is_only_read():
    found = instance_problems({"vm0": VM0, "vm1": VM0}, VOLUMES, (), HOSTS)
    assert [sentence.split(",")[0] for sentence in found] == [
        f"propolis_instances.vm1.id is {VM0['id']}",
        "propolis_instances.vm1.disks[0].volume is 'boot'",
    ]
    tools = {"disks": [{"volume": "tools", "read_only": True}]}
    assert instance_problems({"vm0": VM0 | tools, "vm1": VM0 | tools | {"id": OTHER_ID}}, VOLUMES, (), HOSTS) == []


def test_an_instance_or_destination_that_is_not_known_is_named_with_those_that_are():
    assert problems(names=["vm9"]) == ["The instance 'vm9' is not known; propolis_instances has vm0."]
    assert "propolis_instances has vm0." in move_problems({"vm0": VM0}, {"vm9": "beta"}, HOSTS)[0]
    assert move_problems({"vm0": VM0}, {"vm0": "beta"}, HOSTS) == []
    assert move_problems({"vm0": VM0}, {"vm0": "zeta"}, HOSTS)[0].endswith("expected one of alpha, beta.")
    assert move_problems({"vm0": VM0 | {"hosts": ["alpha"]}}, {"vm0": "beta"}, HOSTS)[0].endswith("one of alpha.")


@pytest.mark.parametrize("number", [0, -3, "many", 1.5, None, True, 2**64])
def test_a_number_that_no_upstairs_may_use_is_named_with_its_volume(number):
    (found,) = generation_problems({"boot": number}, VOLUMES)
    assert found.startswith(f"The generation for boot: found {number!r}, expected a whole number from 1 to ")


def test_a_number_for_a_volume_that_is_not_there_is_not_passed_over():
    assert generation_problems({"boot": 7, "root": 7}, VOLUMES) == [
        "A generation is asked for 'root', which is no volume; crucible_volumes has boot, data, tools."
    ]
