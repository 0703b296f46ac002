# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks values against the OpenAPI documents of propolis-server: schemas, request bodies and answers.

Use: ``validate(document("5.0.0"), "InstanceEnsureRequest", body)``. A value that the document does not allow raises
ContractError, which names every place that is wrong. Objects are closed: a property that the schema does not name is an
error, because a server of that age would refuse it or a client of that age would not know it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.protocols import Validator
from shared import recordings

VERSIONS = ("1.0.0", "2.0.0", "3.0.0", "4.0.0", "5.0.0")
"""The versions that a server of today accepts in its header ``api-version``."""

FILES = {
    "2023-01": "propolis-server-2023-01-19-seed.json",
    "2024-09": "propolis-server-2024-09-28-disk-request.json",
    "2024-12": "propolis-server-2024-12-17-last-disk-request.json",
    "2025-08": "propolis-server-2025-08-06-unversioned.json",
}
"""The documents that carry no version of their own, by the month of their commit."""

INTEGER_LIMITS = {"uint8": 2**8 - 1, "uint16": 2**16 - 1, "uint32": 2**32 - 1, "uint64": 2**64 - 1, "uint": 2**64 - 1}


class ContractError(AssertionError):
    """A value that its OpenAPI document does not allow."""


@dataclass(frozen=True, eq=False)
class Document:
    """One OpenAPI 3.0 document: the name it was asked for by, and its content as parsed JSON."""

    name: str
    content: Mapping[str, Any]
    validators: dict[str, Validator] = field(default_factory=dict, repr=False)

    @property
    def schema_names(self) -> tuple[str, ...]:
        return tuple(self.content["components"]["schemas"])


@dataclass(frozen=True)
class Operation:
    """One method of one path template, e.g. PUT /instance/disk/{id}/vcr."""

    method: str
    template: str
    content: Mapping[str, Any]


@cache
def document(version: str) -> Document:
    """The document of an api-version ("1.0.0" ... "5.0.0") or of a month ("2023-01", see FILES)."""
    folder = recordings / "openapi"
    pattern = FILES.get(version, f"propolis-server-{version}-*.json")
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise LookupError(f"{len(found)} files match {pattern!r} in {folder}, expected one OpenAPI document")
    return Document(version, json.loads(found[0].read_text(encoding="utf-8")))


def validate(document: Document, schema_name: str, value: object) -> None:
    """Raise ContractError when `value` (parsed JSON) is not what the named schema of `document` allows."""
    if schema_name not in document.content["components"]["schemas"]:
        raise LookupError(f"no schema {schema_name!r} in the OpenAPI document {document.name}")
    _check(document, {"$ref": f"#/components/schemas/{schema_name}"}, value, schema_name)


def validate_request(document: Document, method: str, target: str, body: object) -> None:
    """Raise ContractError when `body` (parsed JSON, None for no body) is not what the operation takes."""
    operation = find_operation(document, method, target)
    content = operation.content.get("requestBody", {}).get("content", {}).get("application/json")
    label = f"body of {operation.method} {operation.template}"
    if content is None:
        if body is not None:
            raise ContractError(f"{document.name}: {label}: found one, the operation takes none")
        return
    _check(document, content["schema"], body, label)


def validate_answer(document: Document, method: str, target: str, status: int, body: bytes) -> None:
    """Raise ContractError when an answer's status or raw body is not among those that the operation may give."""
    operation = find_operation(document, method, target)
    responses = operation.content["responses"]
    label = f"answer {status} to {operation.method} {operation.template}"
    response = responses.get(str(status)) or responses.get(f"{status // 100}XX") or responses.get("default")
    if response is None:
        raise ContractError(f"{document.name}: {label}: status not among {', '.join(responses)}")
    if "$ref" in response:
        response = _resolve(document, response["$ref"])
    content = response.get("content", {}).get("application/json")
    if content is None:
        if body and "*/*" not in response.get("content", {}):
            raise ContractError(f"{document.name}: {label}: a body of {len(body)} bytes, expected none")
        return
    try:
        value = json.loads(body)
    except ValueError as error:
        raise ContractError(f"{document.name}: {label}: not JSON ({error}): {body[:80]!r}") from error
    _check(document, content["schema"], value, label)


def find_operation(document: Document, method: str, target: str) -> Operation:
    """The operation that serves a request line's method and target ("/instance/disk/d0/status?x=1")."""
    path = urlsplit(target).path
    path = path.rstrip("/") or "/"
    for template, methods in document.content["paths"].items():
        parts = re.split(r"({\w+})", template)
        pattern = "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)
        if re.fullmatch(pattern, path) and method.lower() in methods:
            return Operation(method.upper(), template, methods[method.lower()])
    raise LookupError(f"{document.name}: no operation {method} {path}")


def _resolve(document: Document, reference: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = document.content
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def _check(document: Document, schema: Mapping[str, Any], value: object, label: str) -> None:
    key = json.dumps(schema, sort_keys=True)
    if key not in document.validators:
        whole = {
            "components": {"schemas": _translate(document.content["components"]["schemas"], is_schema=False)},
            "allOf": [_translate(schema)],
        }
        document.validators[key] = Draft202012Validator(whole, format_checker=FormatChecker(["uuid", "ipv4", "ipv6"]))
    problems = []
    for error in sorted(document.validators[key].iter_errors(value), key=lambda error: list(map(str, error.path))):
        problems.append(f"at {_place(error.absolute_path)}: {_deepest(error)}")
    if problems:
        raise ContractError(f"{document.name}: {label}: " + "; ".join(problems))


def _place(path: Any) -> str:
    return "/" + "/".join(str(step) for step in path)


def _deepest(error: Any) -> str:
    """The message, and below an alternative of schemas the reason why each alternative was refused."""
    text = str(error.message)
    text = text if len(text) < 300 else text[:150] + " ... " + text[-140:]
    reasons = [f"{_place(inner.absolute_path)}: {str(inner.message)[:160]}" for inner in (error.context or [])[:8]]
    return f"{text} ({' | '.join(reasons)})" if reasons else text


def _translate(node: Any, *, is_schema: bool = True) -> Any:
    """OpenAPI 3.0 schema objects as JSON Schema 2020-12: nullable, integer formats, closed objects.

    `is_schema` is false for maps whose keys are names that the author chose (properties, the table of schemas).
    """
    if isinstance(node, list):
        return [_translate(item) for item in node]
    if not isinstance(node, dict):
        return node
    if not is_schema:
        return {name: _translate(item) for name, item in node.items()}
    plain = ("enum", "required", "default", "example")
    schema = {k: v if k in plain else _translate(v, is_schema=k != "properties") for k, v in node.items()}
    if schema.get("enum") == [None]:
        schema.pop("type", None)  # how the documents write the type that has null as its only value
    nullable = schema.pop("nullable", False)
    if schema.get("type") == "integer" and schema.get("format") in INTEGER_LIMITS:
        schema.setdefault("maximum", INTEGER_LIMITS[schema["format"]])
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    if nullable and schema:
        described = {k: schema.pop(k) for k in ("description", "default") if k in schema}
        return {**described, "anyOf": [schema, {"type": "null"}]}
    return schema
