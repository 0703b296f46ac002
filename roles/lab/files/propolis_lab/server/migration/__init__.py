# SPDX-License-Identifier: GPL-3.0-or-later
"""Live migration between two stand-ins: the same phases, publications and failures as between two real servers."""
