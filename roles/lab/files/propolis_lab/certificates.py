# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates that the machine trusts, which aiohttp reads when it is imported: that is a quarter of its import.

No program of the lab asks anybody whom one of them could vouch for, and they are started often.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_FILE = "SSL_CERT_FILE"  # OpenSSL reads this one in the place of the machine's


@contextmanager
def not_read() -> Iterator[None]:
    """What is imported meanwhile finds no certificate."""
    before = os.environ.get(_FILE)
    os.environ[_FILE] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FILE]
        else:
            os.environ[_FILE] = before
