# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the checker of OpenAPI documents itself: what it lets through and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from recordings.openapi import (
    FILES,
    VERSIONS,
    ContractError,
    Document,
    document,
    find_operation,
    validate,
    validate_answer,
    validate_request,
)
from shared import needs_shared

THING = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}
SMALL = Document(
    "small",
    {
        "paths": {
            "/thing/{id}": {
                "put": {
                    "requestBody": {
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}
                    },
                    "responses": {
                        "200": THING,
                        "204": {"description": "nothing"},
                        "4XX": {"$ref": "#/components/responses/Error"},
                    },
                },
                "get": {"responses": {"default": {"content": {"*/*": {"schema": {}}}}}},
            }
        },
        "components": {
            "responses": {
                "Error": {
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "properties": {"message": {"type": "string"}},
                                "required": ["message"],
                            }
                        }
                    }
                }
            },
            "schemas": {
                "Nothing": {"title": "Null", "type": "string", "enum": [None]},
                "Size": {"type": "integer", "format": "uint8", "minimum": 0},
                "Thing": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string", "format": "uuid"},
                        "size": {"nullable": True, "allOf": [{"$ref": "#/components/schemas/Size"}]},
                        "nullable": {"type": "boolean"},
                        "kind": {
                            "oneOf": [
                                {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                                {"type": "string", "enum": ["none"]},
                            ]
                        },
                    },
                    "required": ["id"],
                },
            },
        },
    },
)
ID = "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89"


@pytest.mark.parametrize(
    "value",
    [
        {"id": ID},
        {"id": ID, "size": 255},
        {"id": ID, "size": None},
        {"id": ID, "nullable": True},
        {"id": ID, "kind": "none"},
        {"id": ID, "kind": {"a": "x"}},
    ],
)
def test_a_value_of_the_right_shape_passes(value: object) -> None:
    validate(SMALL, "Thing", value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({}, "'id' is a required property"),
        ({"id": "not-a-uuid"}, "/id"),
        ({"id": ID, "size": 256}, "/size"),
        ({"id": ID, "size": -1}, "/size"),
        ({"id": ID, "extra": 1}, "'extra' was unexpected"),
        ({"id": ID, "kind": {"a": "x", "b": 1}}, "/kind"),
        ({"id": ID, "kind": None}, "/kind"),
        ([], "is not of type 'object'"),
    ],
)
def test_a_value_of_the_wrong_shape_is_refused_with_its_place(value: object, place: str) -> None:
    with pytest.raises(ContractError) as caught:
        validate(SMALL, "Thing", value)
    assert place in str(caught.value)


def test_an_answer_is_checked_by_its_status() -> None:
    validate_answer(SMALL, "PUT", f"/thing/{ID}?x=1", 200, json.dumps({"id": ID}).encode())
    validate_answer(SMALL, "PUT", "/thing/1/", 204, b"")
    validate_answer(SMALL, "PUT", "/thing/1", 404, b'{"message": "no"}')
    validate_answer(SMALL, "GET", "/thing/1", 500, b"anything")


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"<html>", "not JSON"),
        (200, b'{"message": "no"}', "required property"),
        (204, b"null", "expected none"),
        (302, b"", "status not among"),
        (404, b"{}", "'message' is a required property"),
    ],
)
def test_an_answer_that_the_document_does_not_allow_is_refused(status: int, body: bytes, reason: str) -> None:
    with pytest.raises(ContractError, match=reason):
        validate_answer(SMALL, "PUT", "/thing/1", status, body)


def test_a_request_body_is_checked_and_an_unasked_one_is_refused() -> None:
    validate_request(SMALL, "PUT", "/thing/1", {"id": ID})
    validate_request(SMALL, "GET", "/thing/1", None)
    with pytest.raises(ContractError):
        validate_request(SMALL, "PUT", "/thing/1", None)
    with pytest.raises(ContractError, match="takes none"):
        validate_request(SMALL, "GET", "/thing/1", {})


def test_the_type_of_null_takes_null_alone() -> None:
    validate(SMALL, "Nothing", None)
    with pytest.raises(ContractError):
        validate(SMALL, "Nothing", "")


def test_unknown_operations_and_schemas_are_errors_not_passes() -> None:
    with pytest.raises(LookupError, match="no operation"):
        find_operation(SMALL, "DELETE", "/thing/1")
    with pytest.raises(LookupError, match="no schema"):
        validate(SMALL, "Nobody", {})


@needs_shared
@pytest.mark.parametrize("version", [*VERSIONS, *FILES])
def test_every_schema_of_every_document_is_usable_and_refuses_something(version: str) -> None:
    found = document(version)
    for name in found.schema_names:
        refused = 0
        values: tuple[object, ...] = (None, [], {"certainly": "not there"}, "certainly not there", -1, True)
        for value in values:
            try:
                validate(found, name, value)
            except ContractError:
                refused += 1
        assert refused > 0, f"{name} of {version} accepts anything"
    for validator in found.validators.values():
        assert isinstance(validator, Draft202012Validator)
        Draft202012Validator.check_schema(validator.schema)


@needs_shared
def test_the_disk_request_of_the_january_2023_document_is_accepted_in_that_age_only() -> None:
    request: dict[str, Any] = {
        "name": "helios-blockdev",
        "slot": 1,
        "read_only": False,
        "device": "virtio",
        "volume_construction_request": {"type": "file", "id": ID, "block_size": 512, "path": "/x"},
    }
    validate(document("2023-01"), "DiskRequest", request)
    with pytest.raises(LookupError):
        validate(document("5.0.0"), "DiskRequest", request)
