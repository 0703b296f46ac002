# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that tell what a host knows: the logs of its services, and what a migration depends on."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.apiary.propolis.plugins.modules import propolis_host_info, propolis_service_log_info
from module_runner import run_module

KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I="


def logged(run_dir: Path, text: str) -> dict[str, str]:
    (run_dir / "server.log").write_text(text)
    return {"name": "server", "run_dir": str(run_dir)}


def test_the_end_of_a_log_comes_without_the_secrets_in_it(tmp_path: Path) -> None:
    service = logged(tmp_path, f'one\nbad request {{"key":"{KEY}"}}\nlast\n')
    result = run_module(propolis_service_log_info, services=[service], secrets=[KEY])
    assert KEY not in json.dumps(result)
    assert result["logs"][0]["text"].splitlines()[-1] == "last"
    assert result["logs"][0]["problem"] is None


def test_no_half_of_a_secret_is_left_where_a_log_is_cut(tmp_path: Path) -> None:
    lines = [f"{number} {KEY} {'x' * 100}" for number in range(2000)]
    result = run_module(
        propolis_service_log_info, services=[logged(tmp_path, "\n".join(lines))], secrets=[KEY], max_bytes=10_000
    )
    text = result["logs"][0]["text"]
    assert 9_000 < len(text) <= 10_000
    assert text.rstrip().endswith("x")
    assert not any(KEY[start : start + 12] in text for start in range(len(KEY) - 12))


def test_a_log_that_is_not_there_or_cannot_be_read_hides_none_of_the_others(tmp_path: Path) -> None:
    services = [
        {"name": "nobody", "run_dir": str(tmp_path / "nowhere")},
        {"name": "server", "run_dir": str(tmp_path), "supervisor": "strange"},
        logged(tmp_path, "here\n"),
    ]
    empty, strange, there = run_module(propolis_service_log_info, services=services)["logs"]
    assert (empty["text"], empty["problem"]) == ("", None)
    assert "strange" in strange["problem"]
    assert there["text"] == "here\n"


def test_a_host_tells_memory_processor_and_clock() -> None:
    result = run_module(propolis_host_info, asked_at=0.0)
    told = result["host"]
    assert not result["changed"]
    assert told["memory"]["total_mib"] > 0
    assert told["clock_offset"] > 1_600_000_000
    assert run_module(propolis_host_info)["host"]["clock_offset"] is None
