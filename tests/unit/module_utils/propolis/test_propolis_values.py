# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, typed reading of JSON, and taking secrets out of it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import ClassVar

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.address import Address
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.errors import BadAddress, NotPropolis
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.instance import State
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.redaction import (
    HIDDEN,
    redact,
    scrub,
    secrets_in,
)
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.values import Value
from hypothesis import given
from hypothesis import strategies as st

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


class TestAddresses:
    @pytest.mark.parametrize(
        ("text", "host", "port", "shown"),
        [
            ("172.20.3.73:8000", "172.20.3.73", 8000, "172.20.3.73:8000"),
            ("http://172.20.3.73:8000", "172.20.3.73", 8000, "172.20.3.73:8000"),
            ("HTTP://alpha:12400/", "alpha", 12400, "alpha:12400"),
            ("[fd00::1]:8000", "fd00::1", 8000, "[fd00::1]:8000"),
            (" alpha:80 ", "alpha", 80, "alpha:80"),
        ],
    )
    def test_an_address_is_read_as_people_write_it(self, text: str, host: str, port: int, shown: str) -> None:
        address = Address.parse(text)
        assert (address.host, address.port, str(address)) == (host, port, shown)
        assert address.url == f"http://{shown}"

    @pytest.mark.parametrize(
        "text",
        [
            *("", "172.20.3.73", "172.20.3.73:0", "172.20.3.73:65536", "172.20.3.73:http", ":8000", "https://a:8000"),
            *("http://a:8000/instance", "a:8000?x", "u@a:8000", "[fd00::1", "[nonsense]:80", "fd00::1:8000", "a b:80"),
        ],
    )
    def test_what_is_no_address_is_refused_with_the_text_in_the_sentence(self, text: str) -> None:
        with pytest.raises(BadAddress) as caught:
            Address.parse(text)
        assert repr(text) in caught.value.message
        assert caught.value.code == "bad_address"

    def test_names_are_not_literal_and_wildcards_are_known(self) -> None:
        assert not Address.parse("alpha:1").is_literal
        assert Address.parse("10.0.0.1:1").is_literal
        assert Address.parse("0.0.0.0:1").is_wildcard
        assert Address.parse("[::]:1").is_wildcard
        assert not Address.parse("alpha:1").is_wildcard

    @given(st.text(max_size=30))
    def test_any_text_is_an_address_or_refused(self, text: str) -> None:
        try:
            address = Address.parse(text)
        except BadAddress:
            return
        assert Address.parse(str(address)) == address


class TestValues:
    def test_a_wrong_type_names_its_place_and_never_the_value(self) -> None:
        value = Value({"opts": {"key": ["s3cret"]}}, "server a, GET /x")
        with pytest.raises(NotPropolis) as caught:
            value.get("opts").get("key").text()
        assert "opts.key" in caught.value.message
        assert "a list" in caught.value.message
        assert "s3cret" not in caught.value.message

    def test_an_unknown_word_is_named_with_the_words_that_are_known(self) -> None:
        with pytest.raises(NotPropolis, match=r"state is Dreaming.*Running"):
            Value({"state": "Dreaming"}, "x").get("state").choice(State)

    def test_an_unknown_word_that_is_no_word_is_not_repeated(self) -> None:
        with pytest.raises(NotPropolis) as caught:
            Value("<b>a long text</b>", "x").choice(State)
        assert "<b>" not in caught.value.message

    def test_a_uuid_without_hyphens_is_given_back_in_the_usual_spelling(self) -> None:
        found = Value("0CEDAE453D6E4D90B2CB56F1A1A42A89", "x").uuid()
        assert found == "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"

    @pytest.mark.parametrize("raw", [True, -1, 1.5, "1", None])
    def test_a_number_is_a_whole_one_that_is_not_negative(self, raw: object) -> None:
        with pytest.raises(NotPropolis):
            Value(raw, "x").number()

    def test_null_is_allowed_only_where_it_is_expected(self) -> None:
        nothing = Value(None, "x")
        assert nothing.optional_text() is None
        assert nothing.optional_number() is None
        assert Value(7, "x").optional_number() == 7
        for read in (nothing.text, nothing.boolean, nothing.uuid, lambda: list(nothing.entries())):
            with pytest.raises(NotPropolis):
                read()

    @given(json_values)
    def test_every_reader_gives_a_value_or_our_own_error(self, raw: object) -> None:
        value = Value(raw, "x")
        readers = (value.text, value.uuid, value.number, value.boolean, value.optional_text, value.optional_number)
        for read in (
            *readers,
            lambda: value.choice(State),
            lambda: list(value.entries()),
            lambda: dict(value.members()),
        ):
            with suppress(NotPropolis):
                read()


class TestRedaction:
    opts: ClassVar = {"id": "u", "key": "s3cret", "key_pem": "pem", "cert_pem": None, "target": ["t"]}
    vcr: ClassVar = {"type": "region", "opts": opts}

    def test_keys_are_hidden_also_inside_embedded_requests(self) -> None:
        spec = {"components": {"d-backend": {"component": {"request_json": json.dumps(self.vcr), "readonly": False}}}}
        shown = json.dumps(redact(spec))
        assert "s3cret" not in shown
        assert "pem\\\\\\" not in shown
        embedded = redact(spec)["components"]["d-backend"]["component"]["request_json"]  # type: ignore[index,call-overload]
        assert json.loads(embedded)["opts"] == {**self.opts, "key": HIDDEN, "key_pem": HIDDEN}

    def test_an_embedded_request_that_cannot_be_read_is_hidden_whole(self) -> None:
        assert redact({"request_json": '{"key": "s3cret'}) == {"request_json": HIDDEN}
        assert secrets_in({"request_json": '{"key": "s3cret'}) == {'{"key": "s3cret'}

    def test_all_secrets_are_found(self) -> None:
        assert secrets_in([{"request_json": json.dumps(self.vcr)}, {"key": 17}]) == {"s3cret", "pem", "17"}

    def test_a_text_is_scrubbed_of_secrets_however_they_are_quoted(self) -> None:
        pem = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----\n"
        quoted = f"invalid type: string {json.dumps(pem)}, or the line MIIEvQIBADANBg, or {pem}"
        assert "MIIEv" not in scrub(quoted, {pem})

    @given(json_values)
    def test_redacting_keeps_everything_but_secrets(self, raw: object) -> None:
        assert redact({"plain": raw, "key": "s3cret"}) == {"plain": redact(raw), "key": HIDDEN}
        if not secrets_in(raw):
            assert redact(raw) == raw
