# SPDX-License-Identifier: GPL-3.0-or-later
"""The repair of extents: the steps of a reconciliation before activation, and the copying that live repair shares.

While a copy runs, a real downstairs answers nobody who asks whether an extent is ready to be copied (seen: one that is
sent to itself, because its address is 0.0.0.0, runs into its own limit of 15 seconds). ``busy`` keeps it so.
"""

from __future__ import annotations

import asyncio

from propolis_lab.protocol.basics import SocketAddress
from propolis_lab.protocol.errors import CrucibleError, ErrorKind
from propolis_lab.protocol.messages import (
    ExtentClose,
    ExtentError,
    ExtentFlush,
    ExtentReopen,
    ExtentRepair,
    Message,
    RepairAckId,
    RepairMessage,
)
from propolis_lab.region import ExtentClosed, OutOfBounds, Region, RegionError

from .endings import ABORTS, Ending
from .extent_copy import CopyError, fetch_extent
from .logs import Logger
from .work import close, reopen

STEPS = (ExtentFlush, ExtentClose, ExtentReopen)
"""The steps of a reconciliation that are done at once; ExtentRepair, between the last two, is not."""


class Repairs:
    """What repairs do to one region."""

    def __init__(self, region: Region, log: Logger) -> None:
        self.busy = asyncio.Lock()
        """Held while an extent is copied."""
        self._region = region
        self._log = log

    async def copy(self, extent: int, source: SocketAddress) -> None:
        """Replace a closed extent by the source's. Raises CopyError; then the extent is as it was."""
        if not self._region.is_closed(extent):
            raise CopyError(ErrorKind.GENERIC_ERROR, f"extent {extent} is open and can't be replaced")
        async with self.busy:
            self._log.info(f"The stand-in copies extent {extent} from {source}")
            contents = await fetch_extent(source, extent, self._region, self._log.info)
            try:
                self._region.replace_extent(extent, contents)
            except (RegionError, OSError) as error:
                raise CopyError(ErrorKind.GENERIC_ERROR, str(error)) from error
        self._log.info(f"The stand-in has copied extent {extent} from {source}")

    def step(self, message: RepairMessage) -> Message:
        """Do a step of a reconciliation, but not the copying; gives its answer.

        Raises Ending where the real program aborts.
        """
        region = self._region
        try:
            match message:
                case ExtentFlush():
                    region.extent_flush(message.extent_id, message.flush_number, message.generation)
                case ExtentClose():
                    close(region, message.extent_id)
                case ExtentReopen():
                    reopen(region, message.extent_id)
                case _:
                    raise TypeError(f"{type(message).__name__} is not a step that is done at once")
        except (OutOfBounds, ExtentClosed) as error:
            raise Ending(f"reconciliation step {message.repair_id}: {error}", really=ABORTS) from error
        except RegionError as error:
            return self._failed(message, CrucibleError(ErrorKind.GENERIC_ERROR, (str(error),)))
        except OSError as error:
            return self._failed(message, CrucibleError(ErrorKind.IO_ERROR, (str(error),)))
        return RepairAckId(message.repair_id)

    async def copy_step(self, message: ExtentRepair) -> Message:
        """Do the copying of a reconciliation and give its answer. Raises Ending where the real program aborts."""
        try:
            await self.copy(message.extent_id, message.source_repair_address)
        except CopyError as error:
            return self._failed(message, error.error)
        except OutOfBounds as error:
            raise Ending(f"reconciliation step {message.repair_id}: {error}", really=ABORTS) from error
        return RepairAckId(message.repair_id)

    def _failed(self, message: RepairMessage, error: CrucibleError) -> Message:
        extent: int = message.extent_id  # type: ignore[attr-defined]  # every step of STEPS has one
        self._log.error(f"The stand-in failed at step {message.repair_id} with extent {extent}: {error}")
        return ExtentError(message.repair_id, extent, error)
