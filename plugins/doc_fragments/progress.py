# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the modules that show that they are at work."""

from __future__ import annotations


class ModuleDocFragment:
    """The option ``progress`` and the action plugin that reads it."""

    DOCUMENTATION = r"""
options:
  progress:
    description:
      - Whether a line is shown every few seconds while the module is at work, from the fifth second on.
      - With V(auto) this is done unless the output is for programs (a JSON callback). With C(no_log) it is never done.
    type: str
    choices: [auto, always, never]
    default: auto
attributes:
  action:
    description: Has a part that runs on the controller.
    support: full
    details: It runs the module as it is and shows that it is at work.
"""
