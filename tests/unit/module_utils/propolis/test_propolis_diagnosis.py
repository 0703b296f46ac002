# SPDX-License-Identifier: GPL-3.0-or-later
"""Reasons found in a server's log: the recorded lines of real servers become sentences, and nothing else leaks."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.propolis.diagnosis import read_log, reasons
from shared import needs_shared, recordings


@needs_shared
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("e-crucible-gen.txt", ["10 was asked for, at least 11 is needed", "9 was asked for, at least 11 is needed"]),
        ("e-crucible-geo.txt", ["geometry", "encrypted wanted: true, found: false", "other than three targets"]),
        ("e3-encrypted-and-readonly.txt", ["not the one that its data"]),
        (
            "b2-ensure-failures.txt",
            ["number of processors", "that much memory", "could not be read", "bootrom file cannot be opened"],
        ),
        ("c3-migration-failures.txt", ["nosuch was to be replaced", "disk0 was to be replaced", "no running instance"]),
        ("c7-migrate-start-endpoint.txt", ["believes that it is a migration source"]),
        ("../2023/takeover.txt", ["another session with generation 31 has taken a disk from this one (30)"]),
    ],
)
def test_the_recorded_failures_of_real_servers_are_understood(file: str, words: list[str]) -> None:
    lines = (recordings / "transcripts" / "propolis" / file).read_text(encoding="utf-8").splitlines()
    found = " | ".join(reasons(lines))
    for word in words:
        assert word in found, found


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "ERRO found/using gen number 2, larger than requested: 1",
            "the generation of a disk is too low: 1 was asked for, at least 2 is needed; allocate a new one",
        ),
        (
            "Negotiation error: Incompatible read-only settings: wanted true, got false",
            "a volume's read_only and its downstairs do not match (wanted: true, found: false)",
        ),
        (
            "panicked at: New downstairs region info mismatch ExpectingFromDownstairs(RegionDefinition {..}",
            "a volume's geometry is not that of its regions",
        ),
        ('"error":"No longer active"', "a disk lost its session to another one, or names one target more than once"),
    ],
)
def test_other_lines_of_either_age_are_understood(line: str, sentence: str) -> None:
    assert reasons([line]) == [sentence]


def test_the_latest_reason_comes_first_and_each_only_once() -> None:
    too_low = "Generation number is too low: requested {}, found 9"
    lines = [too_low.format(3), "Decryption failed!", too_low.format(3), "all is well"]
    assert reasons(lines) == [
        "the generation of a disk is too low: 3 was asked for, at least 9 is needed; allocate a new one",
        "a volume's key is not the one that its data was written with",
    ]


def test_a_log_without_known_lines_gives_no_reason() -> None:
    assert reasons(["server started", '{"key": "s3cret"}', ""]) == []


class TestLogs:
    def test_only_what_was_written_since_is_read(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        log.write_text("old\n")
        start = log.stat().st_size
        with log.open("a") as file:
            file.write("new\n")
        assert read_log(log, start) == ["new"]

    def test_a_log_that_was_replaced_by_a_shorter_one_is_read_whole(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        log.write_text("short\n")
        assert read_log(log, 1000) == ["short"]

    def test_of_a_long_log_the_end_is_read(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        log.write_bytes(b"x" * 1_000_000 + b"\nlast \xff\n")
        assert read_log(log)[-1].startswith("last")
        assert len("".join(read_log(log))) < 300_000

    def test_a_log_that_cannot_be_read_has_no_lines(self, tmp_path: Path) -> None:
        assert read_log(tmp_path / "nosuch") == []
        assert read_log(tmp_path) == []
