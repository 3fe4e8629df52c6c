"""What executors elsewhere ask of their driver: a verb and its arguments, pickled.

`RemotePool` answers. Every executor says, in this order:

hello       name, pid, host, path of its log → `Welcome`, or None: it is to end
exchange    `ExchangeRequest` → `ExchangeReply`
load        name, eval id → `StoredSpec`; the eval's context is opened then
left        name, eval id, and what `dump_failure` gave if that ends the eval → None
beat        `Heartbeat` → False if it was declared dead
wait        name → whether to stop, once there is something to do
bye         name, its tasks being given back and its contexts left → None
"""

from __future__ import annotations

from typing import NamedTuple


class Welcome(NamedTuple):
    """What an executor is told first.

    Attributes:
        executor_id: its row in the state file.
        slot: its number among the executors; what replaces a dead one inherits it.
        library_config: the driver's, pickled.
    """

    executor_id: int
    pool: str
    slot: int
    run_set_id: str
    library_config: bytes
