"""Names for run sets that were given none."""

from __future__ import annotations

import datetime
import secrets


def new_run_set_id() -> str:
    """Sortable by time, readable, and unique by 24 random bits."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
