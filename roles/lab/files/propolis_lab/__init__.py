# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for crucible-downstairs and propolis-server, for machines that are not illumos hosts.

Imports nothing of the collection's plugins, and the plugins import nothing of it: they meet at the command line, on the
wire and on disk.
"""
