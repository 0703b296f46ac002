# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the collection, installs it into an empty directory, and does there what a user does: everything by full name.

Run by the Python whose ansible-core shall be tried. Exits 0, or 1 with one sentence.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from collection_tree import ROOT, make_tree

PLACE = ROOT / ".build" / "installed"
COLLECTIONS = PLACE / "collections"
EMPTY = PLACE / "empty"
HERE = COLLECTIONS / "ansible_collections" / "apiary" / "propolis"
BIN = Path(sys.executable).parent
NETWORK = "127.0.41"


class NotAsPromised(Exception):
    """One sentence on what an installed collection did not do."""


def run(program: str, *arguments: str, quiet: bool = False) -> str:
    """Run a program of this Python's virtual environment in the empty directory; its output, returned and shown."""
    command = [str(BIN / program), *arguments]
    print(f"\n$ {program} {' '.join(arguments)}", flush=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "LAB_"))}
    environment |= {
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "LAB_ROOT": str(EMPTY / "lab"),
        "LAB_NETWORK": NETWORK,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PWD": str(EMPTY),
    }
    with subprocess.Popen(
        command, cwd=EMPTY, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            if not quiet:
                print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise NotAsPromised(f"'{program} {' '.join(arguments)}' ended with status {process.returncode}.")
    return "".join(lines)


def changes(output: str) -> int:
    """How many changes the recap of a play counts, over all hosts."""
    found = re.findall(r"\bchanged=(\d+)", output)
    if not found:
        raise NotAsPromised("The play printed no recap.")
    return sum(int(number) for number in found)


def build_and_install() -> None:
    """From what git knows to an installed collection in an otherwise empty place."""
    shutil.rmtree(PLACE, ignore_errors=True)
    tree = make_tree(PLACE / "source")
    EMPTY.mkdir(parents=True)
    run("ansible-galaxy", "collection", "build", str(tree), "--output-path", str(PLACE))
    tarball = next(PLACE.glob("apiary-propolis-*.tar.gz"))
    run("ansible-galaxy", "collection", "install", str(tarball), "--offline", "-p", str(COLLECTIONS))


def look_without_touching() -> None:
    """The inventory for two real hosts is understood by every playbook, and names the hosts that it shall."""
    two_hosts = str(HERE / "inventories" / "two_hosts")
    playbooks = [f"apiary.propolis.{name}" for name in ("seed", "boot", "migrate", "status", "teardown")]
    run("ansible-playbook", "-i", two_hosts, *playbooks, "--syntax-check")
    listed = run("ansible-playbook", "-i", two_hosts, "apiary.propolis.migrate", "--list-hosts")
    missing = [host for host in ("ds0", "ds1", "ds2", "alpha", "beta") if not re.search(rf"^\s+{host}$", listed, re.M)]
    if missing:
        raise NotAsPromised(f"inventories/two_hosts does not lead migrate.yml to {', '.join(missing)}.")


def read_the_pages() -> None:
    """``ansible-doc`` has a page for each module, filter and role."""
    kinds = {"module": "plugins/modules/*.py", "filter": "plugins/filter/*.py", "role": "roles/*"}
    for kind, pattern in kinds.items():
        names = sorted(f"apiary.propolis.{path.stem}" for path in HERE.glob(pattern))
        printed = run("ansible-doc", "-t", kind, "--json", *names, quiet=True)
        # Some releases of ansible-core warn of a collection of their own before they answer.
        page = json.loads(printed[printed.index("{") :])
        if missing := [name for name in names if name not in page]:
            raise NotAsPromised(f"ansible-doc -t {kind} has no page for {', '.join(missing)}.")


def do_the_main_job() -> None:
    """Migrate, again without a change, each role alone in somebody else's playbook, and all away again."""
    lab = str(HERE / "inventories" / "lab")
    try:
        run("ansible-playbook", "-i", lab, "apiary.propolis.migrate")
        again = changes(run("ansible-playbook", "-i", lab, "apiary.propolis.migrate"))
        if again:
            raise NotAsPromised(f"A second run of migrate.yml changed {again} things; expected 0.")
        run("ansible-playbook", "-i", lab, str(ROOT / "tests" / "fixtures" / "each_role_alone.yml"))
    finally:
        run("ansible-playbook", "-i", lab, "apiary.propolis.lab_down")
    if (EMPTY / "lab").exists():
        raise NotAsPromised(f"lab_down.yml left {EMPTY / 'lab'} behind.")


def main() -> int:
    """Exit status."""
    run_version = subprocess.run([str(BIN / "ansible"), "--version"], capture_output=True, text=True, check=True)
    print(run_version.stdout.splitlines()[0])
    try:
        build_and_install()
        look_without_touching()
        read_the_pages()
        do_the_main_job()
    except NotAsPromised as error:
        print(f"\nNot as promised: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
