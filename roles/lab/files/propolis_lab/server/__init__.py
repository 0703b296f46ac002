# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for propolis-server: its HTTP APIs, state machine, console and live migration; the hypervisor is
imitated."""

from propolis_lab import certificates

with certificates.not_read():
    import aiohttp  # noqa: F401  # all modules here need it
