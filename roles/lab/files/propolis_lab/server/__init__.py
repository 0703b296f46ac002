# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for propolis-server: its HTTP APIs, state machine, console and live migration; the hypervisor is
imitated."""
