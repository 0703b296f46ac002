# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of what git knows, at the path that ansible-test and the builder ask for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def known_files() -> list[Path]:
    """Files that git tracks or would add, relative to the project's root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    return [Path(name) for name in listed if name and (ROOT / name).exists()]


def make_tree(place: Path) -> Path:
    """Makes `place`/ansible_collections/apiary/propolis anew and returns it: a repository, since sanity asks git."""
    tree = place / "ansible_collections" / "apiary" / "propolis"
    shutil.rmtree(tree, ignore_errors=True)
    for name in known_files():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
    for command in (["git", "init", "--quiet", "."], ["git", "add", "--all"]):
        subprocess.run(command, cwd=tree, check=True, capture_output=True)
    return tree
