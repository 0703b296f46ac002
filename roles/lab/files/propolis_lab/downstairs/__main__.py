# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m propolis_lab.downstairs``: the stand-in for crucible-downstairs."""

import sys

from propolis_lab.downstairs.main import main

sys.exit(main(sys.argv[1:]))
