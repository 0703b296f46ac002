# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's upstairs: one volume over three downstairs, in Crucible's own protocol. Others import from here."""

from __future__ import annotations

from .errors import ActivationError, IoError, ReplaceError, RequestError, UpstairsError
from .request import VolumeRequest
from .settings import Settings, settings_for
from .status import UpstairsState, VolumeStatus
from .volume import Upstairs

__all__ = [
    "ActivationError",
    "IoError",
    "ReplaceError",
    "RequestError",
    "Settings",
    "Upstairs",
    "UpstairsError",
    "UpstairsState",
    "VolumeRequest",
    "VolumeStatus",
    "settings_for",
]
