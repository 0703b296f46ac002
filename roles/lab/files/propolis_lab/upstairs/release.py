# SPDX-License-Identifier: GPL-3.0-or-later
"""The last flush of a session, after which nothing is left that only one side knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from .block_io import BlockIo
from .errors import NOT_ACTIVE, TOO_MANY_FAILED, IoError
from .jobs import Step
from .pipeline import QUORUM, Pipeline
from .session import Session
from .status import Phase
from .target import Target
from .waiting import Changes


async def release(
    session: Session,
    targets: Sequence[Target],
    pipeline: Pipeline,
    io: BlockIo,
    *,
    changes: Changes,
    over: Callable[[], bool],
) -> None:
    """Flush on all downstairs that are there and close each as soon as it has answered.

    Others are waited for only while there are too few. ``over`` tells that the session ended meanwhile. Raises IoError
    when too few took the flush.
    """
    least = 1 if session.read_only else QUORUM
    await changes.until(lambda: over() or sum(target.phase is Phase.ACTIVE for target in targets) >= least)
    for target in targets:
        if target.phase is not Phase.ACTIVE:
            target.stop()
            pipeline.skip(target)
    if not over() and (io.unflushed or len(pipeline.jobs)):
        job = io.submit_flush(asyncio.get_running_loop().create_future(), everywhere=True)
        for place, target in enumerate(targets):
            await changes.until(lambda at=place: over() or not job.steps[at].open)  # type: ignore[misc]
            if not over():
                target.stop()
        if not over() and job.count(Step.DONE) < least:
            raise IoError(TOO_MANY_FAILED)
    if over():
        raise IoError(NOT_ACTIVE)
