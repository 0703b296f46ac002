# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation that the modules talking to propolis servers share."""

from __future__ import annotations


class ModuleDocFragment:
    """The option ``api`` and the requirement of the client."""

    DOCUMENTATION = r"""
options:
  api:
    description:
      - The age of API to speak. V(auto) finds out with requests that change nothing.
      - V(2023-01) is the API of January 2023; a version such as V(5.0.0) is sent as the header C(api-version). Later versions
        than those known here are spoken like the newest known one.
    type: str
    default: auto
requirements:
  - requests (Python library, on the host where the module runs)
"""
