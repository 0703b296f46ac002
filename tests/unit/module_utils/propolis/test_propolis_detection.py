# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding out a server's age with harmless requests: ages are recognised, those between are named and not guessed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.address import Address
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.client import Client
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.dialects import (
    KNOWN_VERSIONS,
    Detected,
    SeedDialect,
    choose,
    detect,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import (
    NotPropolis,
    Unreachable,
    UnsupportedDialect,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server import Server
from client_fakes import NO_INSTANCE, FakePropolis, Reply, Said, http_server, refusal
from propolis_samples import INSTANCE_ID, METADATA, properties, seed_properties

NOT_FOUND = refusal(404, "Not Found")


def find(answer: Callable[[Said], Reply]) -> tuple[Detected, list[Said]]:
    heard: list[Said] = []

    def listen(said: Said) -> Reply:
        heard.append(said)
        return answer(said)

    with http_server(listen) as address:
        return detect(Client(Address.parse(address), name="beta", timeout=5)), heard


@pytest.mark.parametrize("version", KNOWN_VERSIONS)
@pytest.mark.parametrize("holds", [False, True])
def test_a_versioned_server_is_spoken_with_in_its_newest_version(version: str, holds: bool) -> None:
    fake = FakePropolis(version)
    if holds:
        fake.hold(INSTANCE_ID, "vm0", "Running")
    found, heard = find(fake.answer)
    assert found.dialect.label == found.dialect.api_version == version
    assert version in found.sign
    assert bool(found.could_not_tell) == (version == "5.0.0")
    assert {said.method for said in heard} == {"GET"}


def test_a_server_newer_than_everything_known_is_spoken_with_in_the_newest_known_version() -> None:
    found, _unused = find(FakePropolis("9.0.0").answer)
    assert found.dialect.label == "5.0.0"
    assert "later versions" in found.could_not_tell[0]


def test_a_server_that_dropped_a_known_version_is_asked_for_the_next() -> None:
    fake = FakePropolis("5.0.0")

    def answer(said: Said) -> Reply:
        return NOT_FOUND if said.headers.get("api-version") == "5.0.0" else fake.answer(said)

    assert find(answer)[0].dialect.label == "4.0.0"


def test_a_server_that_takes_no_known_version_is_named_as_that() -> None:
    with pytest.raises(UnsupportedDialect, match="takes none of"):
        find(FakePropolis("0.1.0").answer)


@pytest.mark.parametrize("holds", [False, True])
def test_a_server_of_january_2023_is_recognised_with_and_without_an_instance(holds: bool) -> None:
    fake = FakePropolis("2023-01")
    if holds:
        fake.hold(INSTANCE_ID, "vm0", "Running")
    found, heard = find(fake.answer)
    assert isinstance(found.dialect, SeedDialect)
    assert found.could_not_tell
    assert {said.method for said in heard} == {"GET"}


def unversioned(instance: Reply, **others: Reply) -> Callable[[Said], Reply]:
    """A server that answers GET /instance, and everything else with 404 or as told."""
    known = {"/instance": instance} | {f"/instance/{path.replace('_', '-')}": reply for path, reply in others.items()}
    return lambda said: known.get(said.path, NOT_FOUND)


def shown(**properties_of: object) -> Reply:
    instance = {"properties": {**seed_properties(), **properties_of}, "state": "Running", "disks": [], "nics": []}
    return Reply(200, {"instance": instance})


@pytest.mark.parametrize(
    ("answer", "period"),
    [
        (unversioned(refusal(500, "Internal Server Error", "Internal")), "February 2023 to March 2024"),
        (unversioned(shown()), "February 2023 to March 2024"),
        (unversioned(shown(metadata=METADATA)), "March to October 2024"),
        (unversioned(NOT_FOUND, state_monitor=refusal(400, "unable to parse JSON body")), "June 2023 to April 2024"),
        (unversioned(NO_INSTANCE), "April to June 2024"),
        (unversioned(NO_INSTANCE, migration_status=NO_INSTANCE), "June 2024 to October 2025"),
        (
            unversioned(Reply(200, {"instance": {"properties": properties(), "state": "Running"}})),
            "October 2024 to October 2025",
        ),
    ],
)
def test_a_server_between_the_ages_is_named_with_its_period_in_one_sentence(
    answer: Callable[[Said], Reply], period: str
) -> None:
    with pytest.raises(UnsupportedDialect) as caught:
        find(answer)
    assert period in caught.value.message
    assert "beta" in caught.value.message
    assert "not supported yet" in caught.value.message
    assert caught.value.code == "unsupported_dialect"


@pytest.mark.parametrize(
    "answer",
    [
        unversioned(NOT_FOUND),
        unversioned(refusal(401, "log in")),
        unversioned(Reply(200, {"status": "ok"})),
        unversioned(Reply(200, {"instance": {"properties": {}, "state": "Running"}})),
        unversioned(refusal(500, "x"), **{"migrate/status": refusal(503, "x")}),
    ],
    ids=["a downstairs' repair API", "another API", "a health check", "half an instance", "a proxy"],
)
def test_another_program_is_said_to_be_no_propolis_server(answer: Callable[[Said], Reply]) -> None:
    with pytest.raises(NotPropolis):
        find(answer)


def test_a_server_that_is_away_is_unreachable_not_unknown() -> None:
    with pytest.raises(Unreachable):
        detect(Client(Address.parse("127.0.0.1:9"), timeout=2))


def test_a_dialect_that_the_user_names_is_taken_without_a_question() -> None:
    assert choose("auto") is None
    server = Server.open("127.0.0.1:9", api="2023-01")
    assert server.dialect.label == "2023-01"
    assert Server.open("127.0.0.1:9", api="6.1.0").client.api_version == "6.1.0"
    with pytest.raises(UnsupportedDialect, match="give auto"):
        choose("newest")
