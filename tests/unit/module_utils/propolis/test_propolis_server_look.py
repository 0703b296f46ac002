# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's configuration file, and looking at a server with the standard library alone."""

from __future__ import annotations

import socket
import tomllib
from typing import Any

import propolis_samples as samples
import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.address import Address
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import BadDescription
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import State
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server_config import config_text, to_toml
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.server_probe import Answering, probe
from client_fakes import FakePropolis, Reply, http_server, raw_server, silence
from hypothesis import given
from hypothesis import strategies as st


class TestConfigurationFiles:
    def test_the_by_hand_documents_configuration_is_written(self) -> None:
        config = {
            "bootrom": "/opt/OVMF_CODE.fd",
            "chipset": {"enable-pcie": True},
            "pci_bridge": [{"pci-path": "0.9.0", "downstream-bus": 1}],
            "block_dev": {"alpine iso": {"type": "file", "path": "/x", "readonly": True}},
            "dev": {"block0": {"driver": "pci-virtio-block", "block_dev": "alpine iso", "pci-path": "0.4.0"}},
        }
        text = config_text(config)
        assert text.startswith('bootrom = "/opt/OVMF_CODE.fd"\n')
        assert '[block_dev."alpine iso"]' in text
        assert tomllib.loads(text) == config

    def test_plain_values_come_before_tables_whatever_their_order(self) -> None:
        table = {"dev": {"a": {"x": 1}, "late": 2}, "bootrom": "/x"}
        assert tomllib.loads(to_toml(table)) == table

    @pytest.mark.parametrize(
        ("config", "sentence"),
        [
            ({}, "bootrom"),
            ({"bootrom": 7}, "bootrom"),
            ({"bootrom": "/x", "block_dev": {"a": {"type": "file", "read_only": True}}}, "'readonly'"),
            ({"bootrom": "/x", "block_dev": []}, "block_dev must be"),
            ({"bootrom": "/x", "dev": {"a": None}}, "config.dev.a is null"),
            ({"bootrom": "/x", "list": [{"a": 1}, 2]}, "not both"),
            ({"bootrom": "/x", "n": 2**64}, "more than TOML"),
            ({"bootrom": "/x", "n": float("inf")}, "float"),
            ({"bootrom": "/x", "n": b"x"}, "bytes"),
            ({"bootrom": "/x", 7: 1}, "key must be a text"),
            ({"bootrom": "\ud800"}, "Unicode"),
        ],
    )
    def test_what_a_server_would_refuse_or_ignore_is_refused(self, config: dict[Any, Any], sentence: str) -> None:
        with pytest.raises(BadDescription, match=sentence):
            config_text(config)

    @given(
        st.recursive(
            st.dictionaries(st.text(max_size=5), st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text()),
            lambda inner: st.dictionaries(st.text(max_size=5), inner | st.lists(inner, max_size=3), max_size=3),
            max_leaves=8,
        )
    )
    def test_every_table_reads_back_as_it_was(self, table: dict[str, Any]) -> None:
        assert tomllib.loads(to_toml(table)) == table


class TestLooking:
    @pytest.mark.parametrize("api", ["5.0.0", "1.0.0", "2023-01"])
    def test_a_server_of_every_age_shows_what_it_holds(self, api: str) -> None:
        fake = FakePropolis(api)
        with fake.serve() as address:
            assert probe(Address.parse(address), 3).answering is Answering.SERVER
            assert probe(Address.parse(address), 3).held is None
            fake.hold(samples.INSTANCE_ID, "vm0", "Running")
            found = probe(Address.parse(address), 3)
            assert found.live is not None
            assert (found.live.id, found.live.state) == (samples.INSTANCE_ID, State.RUNNING)
            fake.publish("Destroyed")
            found = probe(Address.parse(address), 3)
        assert found.held is not None
        assert found.live is None

    def test_a_server_that_dropped_the_first_version_is_asked_with_a_later_one(self) -> None:
        fake = FakePropolis("5.0.0")
        fake.hold(samples.INSTANCE_ID, "vm0", "Running")

        def answer(said: Any) -> Reply:
            refused = Reply(404, {"request_id": "r", "message": "Not Found"})
            return refused if said.headers.get("api-version") == "1.0.0" else fake.answer(said)

        with http_server(answer) as address:
            assert probe(Address.parse(address), 3).live is not None

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(200, b"<html>", "text/html"),
            Reply(200, {"instance": 7}),
            Reply(500, {"error": "x"}),
            Reply(200, b"[" * 100_000),
        ],
    )
    def test_another_http_server_is_a_stranger(self, reply: Reply) -> None:
        with http_server(lambda said: reply) as address:
            assert probe(Address.parse(address), 3).answering is Answering.STRANGER

    def test_what_speaks_no_http_is_a_stranger_and_what_is_silent_is_deaf(self) -> None:
        def ssh(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        with raw_server(ssh) as address:
            assert probe(Address.parse(address), 3).answering is Answering.STRANGER
        with raw_server(silence) as address:
            assert probe(Address.parse(address), 0.3).answering is Answering.DEAF
        assert probe(Address.parse("127.0.0.1:9"), 1).answering is Answering.NOTHING
