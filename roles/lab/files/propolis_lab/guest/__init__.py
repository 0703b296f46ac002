# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's guest: small but alive, so that a checker can tell a move from a restart, a lost write and a machine that
runs twice.

It reads its boot disk, talks on the serial console, answers a login and a few commands, counts ticks in memory and
writes numbered heartbeats to a disk. `disk.py` says what it needs of a disk; it knows nothing of servers or
migrations.
"""
