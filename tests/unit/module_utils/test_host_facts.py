# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host can tell about itself, and what it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.apiary.propolis.plugins.module_utils.host_facts import host_facts


def test_memory_and_processor_are_read_where_the_kernel_tells_them(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel name\t: EPYC\n"
    )
    (tmp_path / "meminfo").write_text("MemTotal:  4096 kB\nMemAvailable:    2097152 kB\n")
    facts = host_facts(tmp_path).as_dict()
    assert facts["cpu"] == {"vendor": "AuthenticAMD", "family": "25", "model": "EPYC"}
    assert facts["memory"]["available_mib"] == 2048
    assert facts["memory"]["total_mib"] > 0
    assert facts["clock"] > 0


def test_a_host_without_those_files_tells_no_processor_and_its_free_pages(tmp_path: Path) -> None:
    facts = host_facts(tmp_path / "nowhere")
    assert (facts.cpu_vendor, facts.cpu_family, facts.cpu_model) == (None, None, None)
    assert facts.memory_available_mib is not None


@pytest.mark.parametrize("amount", ["many", f"{'9' * 5000} kB"])
def test_nonsense_is_no_number(tmp_path: Path, amount: str) -> None:
    (tmp_path / "meminfo").write_text(f"MemAvailable: {amount}\n")
    assert host_facts(tmp_path).memory_available_mib in range(1, 2**30), "not the free pages of this host"
