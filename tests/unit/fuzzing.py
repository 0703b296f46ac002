# SPDX-License-Identifier: GPL-3.0-or-later
"""What every parser is fed with, and what must be true of each: a value or an error of ours, soon, in one sentence.

Half of the food is true samples with something wrong in them, because noise alone never gets past a first check.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from ansible_collections.apiary.propolis.plugins.module_utils.failures import CollectionError
from hypothesis import strategies as st

HUGE = (2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**30, 10**4000)
LONGEST_SENTENCE = 4000

numbers = st.integers() | st.sampled_from(HUGE) | st.sampled_from(HUGE).map(lambda number: -number)
leaves = (
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=12) | st.just("x" * 3000)
)  # floats with infinity and what is not a number, texts with lone surrogates


def nested(words: list[str]) -> st.SearchStrategy[Any]:
    """Any JSON value whose objects have these members."""
    keys = st.sampled_from(words) | st.text(max_size=4)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6), max_leaves=16
    )


def deep(levels: int = 100) -> Any:
    """A list in a list in a list. Deeper ones are among STRANGERS: Python itself refuses to read them."""
    value: Any = []
    for _level in range(levels):
        value = [value]
    return value


def members(value: Any) -> Iterator[str]:
    """The names of all members of all objects in a value."""
    for inner, key in places(value):
        if isinstance(inner, dict):
            yield key


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value: what it is in, and its key there."""
    if isinstance(value, dict | list):
        for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from places(inner)


def broken(*samples: Any) -> st.SearchStrategy[Any]:
    """A true value with one to three places changed, doubled or gone, or another value altogether."""
    words = {name for sample in samples for name in members(sample)}
    return _broken(samples, nested(sorted({*words, "type"})))


@st.composite
def _broken(draw: st.DrawFn, samples: tuple[Any, ...], wild: st.SearchStrategy[Any]) -> Any:
    value = copy.deepcopy(draw(st.sampled_from(samples)))
    if draw(st.integers(0, 9)) == 0:
        return draw(wild | st.just(deep()))
    for _change in range(draw(st.integers(1, 3))):
        found = list(places(value))
        if not found:
            break
        inner, key = found[draw(st.integers(0, len(found) - 1))]
        how = draw(st.sampled_from(["replaced", "replaced", "gone", "doubled", "deep"]))
        if how == "gone":
            del inner[key]
        elif how == "doubled" and isinstance(inner, list):
            inner.insert(key, inner[key])
        else:
            inner[key] = deep() if how == "deep" else draw(wild)
    return value


@st.composite
def mangled(draw: st.DrawFn, *samples: bytes) -> bytes:
    """True bytes cut off, with bits turned, pieces missing, doubled or put in, or other bytes altogether."""
    raw = bytearray(draw(st.sampled_from(samples)))
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300) | st.sampled_from(STRANGERS))
    for _change in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(raw)))
        length = draw(st.integers(0, 24))
        how = draw(st.sampled_from(["cut", "turned", "gone", "doubled", "noise", "number"]))
        if how == "cut":
            del raw[place:]
        elif how == "turned" and place < len(raw):
            raw[place] ^= draw(st.integers(1, 255))
        elif how == "gone":
            del raw[place : place + length]
        elif how == "doubled":
            raw[place:place] = raw[place : place + length]
        elif how == "number":
            raw[place : place + length] = b"9" * draw(st.sampled_from([1, 19, 20, 21, 40, 5000]))
        else:
            raw[place:place] = draw(st.binary(max_size=12) | st.sampled_from([b'"', b"{", b"\n", b"\0", b"\xff\xfe"]))
    return bytes(raw)


STRANGERS = (
    b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"9" * 5000,
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"",
    b"null",
    b"NaN",
    b'"' + b"a" * 200_000 + b'"',
)
"""What other programs answer, and what breaks parsers of JSON."""


def as_json(value: Any) -> bytes:
    """As a server would send it, also when Python would refuse to."""
    return json.dumps(value).encode()


def understood(read: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What ``read`` gives; None where it refuses with an error of ours, in a sentence of a bearable size."""
    try:
        return read(*arguments, **options)
    except CollectionError as error:
        refusal = error
    assert 0 < len(refusal.message) < LONGEST_SENTENCE, refusal.message[:200]
    json.dumps(refusal.as_dict())
    return None
