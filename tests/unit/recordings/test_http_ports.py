# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the ports that stand for recorded ones: nobody else gets them, and a server can still listen there."""

from __future__ import annotations

import socket

import pytest
from recordings.http_ports import ADDRESS, Ports, hold


def test_a_chosen_port_is_taken_for_others_and_free_for_a_server() -> None:
    ports = Ports.choose({12400, 12401}, {3810})
    assert sorted(ports.table) == [3810, 12400, 12401]
    assert all(len(str(recorded)) == len(str(here)) for recorded, here in ports.table.items())
    for port in (*ports.table.values(), ports.table[3810] + 4000):
        assert hold(port) is None
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((ADDRESS, port))
            server.listen()
    ports.release()
    again = hold(ports.table[12400])
    assert again is not None
    again.close()


def test_nothing_answers_on_a_port_that_is_only_held() -> None:
    ports = Ports.choose({12400}, set())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ADDRESS, ports.table[12400]), 1)
    ports.release()
