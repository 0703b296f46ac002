# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for crucible-downstairs: its command line and, for ``run``, its service."""
