# SPDX-License-Identifier: GPL-3.0-or-later
"""Who an upstairs is towards its three downstairs: the ids and the generation of its session."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from ..protocol.messages import HereIAm
from .request import RegionRequest


@dataclass
class Session:
    """One session. The session id is random and stays for the life of the upstairs; the generation may change."""

    request: RegionRequest
    generation: int
    message_version: int
    session_id: UUID

    @classmethod
    def of(cls, request: RegionRequest, message_version: int) -> Session:
        return cls(request, request.generation, message_version, uuid4())

    @property
    def upstairs_id(self) -> UUID:
        return self.request.options.id

    @property
    def read_only(self) -> bool:
        return self.request.options.read_only

    @property
    def encrypted(self) -> bool:
        return self.request.options.key is not None

    def hello(self) -> HereIAm:
        return HereIAm(
            version=self.message_version,
            upstairs_id=self.upstairs_id,
            session_id=self.session_id,
            generation=self.generation,
            read_only=self.read_only,
            encrypted=self.encrypted,
        )
