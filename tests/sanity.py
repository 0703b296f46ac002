# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `ansible-test sanity` of the Python that runs this script, on a copy of what git knows.

ansible-test bootstraps pip into its virtual environments with a script that it downloads. A machine that reaches a
package index but not that download gets a script of the same effect, made from the pip wheel that ansible-test names.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from ansible_test._internal import python_requirements
from collection_tree import make_tree

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path.home() / ".ansible" / "test" / "cache"

BOOTSTRAP = """\
# Puts pip from its unpacked wheel, with its bytecode, into the virtual environment of the Python that runs this. Most
# sanity tests begin so and then install packages, of which few files are used: those are compiled when they are.
import compileall, pathlib, shutil, sys, sysconfig
unpacked, site = pathlib.Path({unpacked!r}), pathlib.Path(sysconfig.get_path("purelib"))
compileall.compile_dir(unpacked, quiet=1)
shutil.copytree(unpacked, site, dirs_exist_ok=True)
(pathlib.Path(sys.prefix) / "pip.conf").write_text("[install]\\nno-compile = true\\n")
"""


def wanted_pip() -> str:
    """The pip version that this ansible-test bootstraps; ValueError when its source no longer says so."""
    found = re.search(r"pip='([0-9.]+)'", inspect.getsource(python_requirements))
    if not found:
        raise ValueError("ansible-test no longer names the pip version it bootstraps; tests/sanity.py needs a look")
    return found.group(1)


def prepare_bootstrap(version: str) -> None:
    """Makes ~/.ansible/test/cache/get_pip_<version>.py from the wheel of that version, unless it is there."""
    script = CACHE / f"get_pip_{version.replace('.', '_')}.py"
    unpacked = CACHE / f"pip-{version}-unpacked"
    if script.exists():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), f"pip=={version}"]
    subprocess.run(pip, check=True)
    wheel = next(CACHE.glob(f"pip-{version}-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    part = script.with_suffix(f".{os.getpid()}")
    part.write_text(BOOTSTRAP.format(unpacked=str(unpacked)))
    part.rename(script)


def main() -> int:
    """Exit status of ansible-test."""
    prepare_bootstrap(wanted_pip())
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    tree = make_tree(ROOT / ".build" / f"sanity-{version}")
    ansible_test = Path(sys.executable).parent / "ansible-test"
    command = [str(ansible_test), "sanity", "--venv", "--python", version, "--color", "no", *sys.argv[1:]]
    print(f"\n$ (cd {tree.relative_to(ROOT)} && {' '.join(command)})", flush=True)
    return subprocess.run(command, cwd=tree, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
