# SPDX-License-Identifier: GPL-3.0-or-later
"""The key of an encrypted volume is known to those who need it and to nobody else, however loudly one runs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from played_lab import Lab, Played
from searching import Secret, Watcher, forms, holders

# Its base64 has the characters that escapes treat differently: + / =
KEY = Secret(b"\xfb\xef\xbe\xff" + hashlib.sha256(b"a volume's key").digest()[4:])
OTHER_KEY = Secret(hashlib.sha256(b"another volume's key").digest())
VOLUME: dict[str, Any] = {
    "id": "0cedae45-3d6e-4d90-b2cb-56f1a1a42a89",
    "block_size": 512,
    "blocks_per_extent": 2048,
    "extent_count": 3,
    "key": KEY.text,
    "targets": [{"host": f"ds{number}", "port": 8810 + 10 * number} for number in range(3)],
}


class SecretLab:
    """A lab whose volume is encrypted, run as loudly as possible; all that any play leaves lies below ``root``."""

    def __init__(self, root: Path, api: str) -> None:
        self.root = root
        self.lab = Lab(root / "lab", "127.0.57", {"API": api})
        self.places = {name: root / name for name in ("lab", "facts", "local", "remote", "temporary", "evidence")}
        for place in self.places.values():
            place.mkdir(mode=0o755)  # not to be what protects a file
        self.places["lab"].chmod(0o755)
        self.variables = root / "volumes.json"
        self.variables.touch(0o600)
        self.write({"vm0-boot": VOLUME})
        self.said = ""
        self.watcher = Watcher(KEY, [self.places["temporary"], self.places["local"]])

    def write(self, volumes: dict[str, Any]) -> None:
        """What the user would keep in a vault: the inventory's volumes, with the key."""
        self.variables.write_text(json.dumps({"crucible_volumes": volumes}))

    def end(self) -> None:
        """Nothing of this lab runs any more."""
        down = self.play("lab_down")
        assert down.status == 0, down.output[-3000:]
        assert KEY.found_in(down.output.encode()) == []

    def play(
        self, name: str, *arguments: str, pipelining: bool = False, keep: bool = False, **variables: Any
    ) -> Played:
        """Run a playbook at the highest verbosity, with every place that may keep something switched on.

        Modules go to hosts as files, which stay there with ``keep``, or with ``pipelining`` through pipes.
        """
        self.lab.environment |= dict(
            ANSIBLE_CACHE_PLUGIN="jsonfile",
            ANSIBLE_CACHE_PLUGIN_CONNECTION=str(self.places["facts"]),
            ANSIBLE_LOG_PATH=str(self.root / "ansible.log"),
            ANSIBLE_LOCAL_TEMP=str(self.places["local"]),
            ANSIBLE_REMOTE_TEMP=str(self.places["remote"]),
            ANSIBLE_PIPELINING=str(pipelining),
            ANSIBLE_KEEP_REMOTE_FILES=str(keep),
            TMPDIR=str(self.places["temporary"]),
        )
        played = self.lab.play(name, "-vvvv", "--diff", "-e", f"@{self.variables}", *arguments, **variables)
        self.said += played.output
        return played


@pytest.fixture(scope="module", params=["today", "2023-01"])
def after_everything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecretLab]:
    """A full life: seeded, booted, migrated, and today looked at, planned and migrated in vain; not yet torn down."""
    one = SecretLab(tmp_path_factory.mktemp("secrets"), request.param)
    with ExitStack() as stack:
        stack.enter_context(one.watcher.watching())
        stack.callback(one.end)
        moved = one.play("migrate", keep=True)
        assert moved.status == 0, moved.output[-3000:]
        assert "vm0 runs on beta at generation 2" in moved.words
        if request.param == "today":
            look_and_fail(one)
        yield one


def look_and_fail(one: SecretLab) -> None:
    """The status, a plan, and a migration that ends in the middle of the copying and leaves its evidence."""
    assert one.play("status").status == 0
    planned = one.play("migrate", "--check", migration_destination="alpha")
    assert planned.status == 0, planned.output[-3000:]
    step = {"side": "destination", "phase": "RamPush", "action": "die", "times": 1}
    (one.places["lab"] / "faults" / "server.json").write_text(json.dumps({"steps": [step]}))
    evidence = str(one.places["evidence"])
    failed = one.play("migrate", pipelining=True, migration_destination="alpha", migration_evidence=evidence)
    assert failed.status != 0
    assert "Traceback" not in failed.output
    assert list(one.places["evidence"].rglob("migration.json")) != []


def test_the_key_is_in_no_output(after_everything: SecretLab) -> None:
    assert KEY.found_in(after_everything.said.encode()) == []
    assert len(after_everything.said) > 100_000  # it was loud


def test_the_key_is_in_no_process_that_others_can_see(after_everything: SecretLab) -> None:
    assert after_everything.watcher.looks > 20
    assert after_everything.watcher.processes == set()


def test_the_key_was_in_no_file_that_others_could_read_while_plays_ran(after_everything: SecretLab) -> None:
    assert after_everything.watcher.files == set()


def test_the_key_is_in_no_file_but_the_inventory_and_the_modules_that_were_kept_on_purpose(
    after_everything: SecretLab,
) -> None:
    one = after_everything
    found = list(holders(KEY, [one.root]))
    kept = [holder for holder in found if one.places["remote"] in holder.path.parents]
    assert [holder for holder in found if holder.exposed] == []
    assert [holder.path for holder in found if holder not in kept] == [one.variables]
    assert {"propolis_instance" in str(holder.path) for holder in kept} <= {True}
    assert kept != [], "without pipelining the module that starts the instance carries the key in its file"


def test_what_the_programs_said_and_what_failed_is_for_the_owner_alone(after_everything: SecretLab) -> None:
    """Extents are as the real program makes them, readable to all: what is in them is encrypted."""
    lab = after_everything.places["lab"]
    logs = [path for path in lab.rglob("*.log") if "hosts" in path.parts]
    states = list(lab.glob("hosts/*/*/**/*.json"))
    evidence = [path for path in after_everything.places["evidence"].rglob("*") if path.is_file()]
    assert len(logs) >= 5
    assert len(states) >= 3 + 5
    assert [path for path in (*logs, *states, *evidence) if path.stat().st_mode & 0o077] == []


def test_what_the_guest_wrote_lies_encrypted_in_the_regions(after_everything: SecretLab) -> None:
    extents = [
        path for path in after_everything.places["lab"].glob("hosts/*/crucible/vm0-boot/*/00/*/*") if path.is_file()
    ]
    contents = [path.read_bytes() for path in extents]
    assert any(content.strip(b"\0") for content in contents)
    assert [content for content in contents if b"LABBEAT1" in content] == []


def test_an_image_cannot_be_imported_into_an_encrypted_region_and_one_sentence_says_so(
    after_everything: SecretLab,
) -> None:
    one = after_everything
    image = one.root / "image.raw"
    image.write_bytes(b"boot" * 512)
    other = {
        **VOLUME,
        "id": "7f6f0f4e-0000-4000-8000-000000000001",
        "image": {"src": str(image)},
        "targets": [{"host": f"ds{number}", "port": 9910} for number in range(3)],
    }
    one.write({"other": other})
    try:
        played = one.play("seed")
    finally:
        one.write({"vm0-boot": VOLUME})
    assert played.status != 0
    assert "cannot be imported into an encrypted region" in played.words
    assert KEY.found_in(played.output.encode()) == []
    assert list(one.places["lab"].glob("hosts/*/crucible/other/*/region.json")) == []


def test_a_machine_is_not_moved_with_another_key_than_it_runs_with(after_everything: SecretLab) -> None:
    """It would run there, and each read and write of its disk would fail."""
    one = after_everything
    ledgers = one.lab.ledgers()
    one.write({"vm0-boot": {**VOLUME, "key": OTHER_KEY.text}})
    try:
        played = one.play("../tests/fixtures/move_only", migration_destination="alpha")
    finally:
        one.write({"vm0-boot": VOLUME})
    assert played.status != 0
    played.says(
        "The key of vm0-boot is not the one that beta uses for disk helios-blockdev",
        "vm0 runs on beta as before, because of what is refused above; nothing was changed and no number was spent",
    )
    assert one.lab.ledgers() == ledgers
    assert KEY.found_in(played.output.encode()) == []
    assert OTHER_KEY.found_in(played.output.encode()) == []


def test_the_search_would_find_every_spelling_in_outputs_files_and_processes(tmp_path: Path) -> None:
    for name, spelling in forms(KEY.value).items():
        assert name in KEY.found_in(b"before" + spelling + b"after")
        (tmp_path / "leak").write_bytes(spelling)
        (tmp_path / "leak").chmod(0o644)
        assert [holder.exposed for holder in holders(KEY, [tmp_path])] == [True]
        (tmp_path / "leak").chmod(0o600)
        assert [holder.exposed for holder in holders(KEY, [tmp_path])] == [False]
    waiting = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    for arguments, environment in ((["--key", KEY.text], {}), ([], {"KEY": KEY.value.hex()})):
        watcher = Watcher(KEY)
        with subprocess.Popen(
            [*waiting, *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()  # at the very beginning of a program the kernel does not show its arguments yet
            watcher.look()
            process.communicate()
        assert len(watcher.processes) == 1
