# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP client against servers that behave, and against everything else that may listen on a port."""

from __future__ import annotations

import socket
import struct
import time

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis import client as client_module
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.address import Address
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.client import RETRIED_READS, Client
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import (
    ApiError,
    MissingLibrary,
    NoAnswer,
    NotPropolis,
    Unreachable,
)
from client_fakes import Reply, Said, drip, http_server, raw_server, refusal, silence


def client(address: str, timeout: float = 5.0, **more: str) -> Client:
    return Client(Address.parse(address), timeout=timeout, **more)


def test_a_request_carries_the_version_and_a_body_also_with_get() -> None:
    heard: list[Said] = []

    def answer(said: Said) -> Reply:
        heard.append(said)
        return Reply(200, {"gen": 4})

    with http_server(answer) as address:
        found = client(address, api_version="5.0.0").call("GET", "/instance/state-monitor", {"gen": 4})
    assert (found.status, found.body) == (200, {"gen": 4})
    assert heard[0].body == {"gen": 4}
    assert heard[0].headers["api-version"] == "5.0.0"
    assert heard[0].headers["content-type"] == "application/json"


def test_an_empty_success_has_no_body() -> None:
    with http_server(lambda said: Reply(204)) as address:
        assert client(address).call("PUT", "/instance/state", "Run").body is None


def test_a_refusal_keeps_status_code_message_and_request_id_and_names_the_server() -> None:
    reply = refusal(403, "Forbidden", "instance state change not allowed: because")
    with http_server(lambda said: reply) as address, pytest.raises(ApiError) as caught:
        client(address, name="beta").call("PUT", "/instance/state", "Reboot")
    error = caught.value
    assert (error.status, error.error_code, error.api_message) == (
        403,
        "instance state change not allowed: because",
        "Forbidden",
    )
    assert error.request_id == error.details["request_id"] == "0f3c1b1e-7f0a-4d5e-9d0a-5b6f6f0d7a10"
    for word in ("beta", address, "PUT /instance/state", "403", "because", "Forbidden"):
        assert word in error.message


def test_a_refusal_that_quotes_a_key_is_shown_without_it() -> None:
    body = {"opts": {"key": "c2VjcmV0c2VjcmV0"}}
    reply = refusal(400, 'invalid type: string "c2VjcmV0c2VjcmV0"')
    with http_server(lambda said: reply) as address, pytest.raises(ApiError) as caught:
        client(address).call("PUT", "/instance", body)
    assert "c2VjcmV0" not in caught.value.message
    assert "c2VjcmV0" not in str(caught.value.details)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>nginx</html>", "text/html"),
        Reply(502, b"<html>Bad Gateway</html>", "text/html"),
        Reply(200, b'{"instance": '),
        Reply(200, b"\xff\xfe"),
        Reply(200, b"[" * 200_000),
        Reply(404, b'"not an object"'),
        Reply(500, b'{"detail": "another API"}'),
        Reply(500, b""),
        Reply(302, b""),
    ],
    ids=["html", "html error", "cut JSON", "bytes", "deep JSON", "text", "other API", "empty error", "redirect"],
)
def test_an_answer_that_is_not_propolis_is_said_to_be_that(reply: Reply) -> None:
    with http_server(lambda said: reply) as address, pytest.raises(NotPropolis) as caught:
        client(address).call("GET", "/instance")
    assert address in caught.value.message
    assert "GET /instance" in caught.value.message
    assert caught.value.code == "not_propolis"


def test_garbage_instead_of_http_is_not_propolis() -> None:
    def ssh(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        connection.recv(65536)
        connection.sendall(b"Protocol mismatch.\r\n")

    with raw_server(ssh) as address, pytest.raises(NotPropolis):
        client(address).call("GET", "/instance")


def test_an_endless_answer_is_not_propolis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 1000)
    with http_server(lambda said: Reply(200, b" " * 2000)) as address, pytest.raises(NotPropolis, match="1000 bytes"):
        client(address).call("GET", "/instance")


@pytest.mark.parametrize("behave", [silence, drip])
def test_a_server_that_does_not_finish_its_answer_is_left_in_time(behave: object) -> None:
    with raw_server(behave) as address:  # type: ignore[arg-type]
        started = time.monotonic()
        with pytest.raises(NoAnswer, match=r"did not answer GET /instance within 0\.3 s"):
            client(address, timeout=0.3).call("GET", "/instance")
        assert time.monotonic() - started < 1.5


def test_a_port_that_nobody_listens_on_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(Unreachable, match="Connection refused") as caught:
        client(address, name="beta").call("GET", "/instance")
    assert caught.value.code == "unreachable"
    assert "beta" in caught.value.message


def test_a_host_name_that_means_nothing_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        client("no-such-host.invalid:8000").call("GET", "/instance")


def test_a_host_that_swallows_connections_is_unreachable_in_time() -> None:
    # A listener whose queue is full drops further connection requests, like a firewall.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        held = []
        for _unused in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            held.append(one)
        started = time.monotonic()
        with pytest.raises(Unreachable, match="no connection within"):
            client(f"127.0.0.1:{listener.getsockname()[1]}", timeout=0.4).call("GET", "/instance")
        assert time.monotonic() - started < 2
        for one in held:
            one.close()


def reset(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_read_that_is_reset_is_asked_once_more_and_a_write_is_not() -> None:
    counts = {"GET": 0, "PUT": 0}

    def behave(connection: socket.socket) -> None:
        method = connection.recv(65536).split(b" ")[0].decode()
        counts[method] += 1
        if counts[method] > 1:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with raw_server(behave) as address:
        assert client(address).call("GET", "/instance").body == {}
        with pytest.raises(Unreachable):
            client(address).call("PUT", "/instance/state", "Run")
    assert counts == {"GET": 2, "PUT": 1}


def test_a_read_that_is_reset_again_and_again_is_unreachable() -> None:
    with raw_server(reset) as address, pytest.raises(Unreachable):
        client(address).call("GET", "/instance")


def test_every_repeated_condition_says_why() -> None:
    assert RETRIED_READS
    assert all(len(why) > 20 for why in RETRIED_READS.values())


def test_no_proxy_of_the_user_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with http_server(lambda said: Reply(200, {})) as address:
        assert client(address).call("GET", "/instance").status == 200


def test_a_time_that_is_over_is_not_used_for_a_request() -> None:
    with http_server(lambda said: Reply(200, {})) as address, pytest.raises(NoAnswer):
        client(address).call("GET", "/instance", timeout=0)


def test_without_the_library_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "HAS_REQUESTS", False)
    with pytest.raises(MissingLibrary, match="requests"):
        client("127.0.0.1:1").call("GET", "/instance")
