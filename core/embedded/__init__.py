"""Embedded servers: what `sluice dev` and the tests start, watch and stop.

Owns    the folder SLUICE_HOME. A production install needs none of this.
"""

from .aof import DamagedLog
from .child import Child, CouldNotStart
from .home import (
    AlipayKeys,
    AnotherRuns,
    Keys,
    NoPort,
    Services,
    alipay_keys,
    announce,
    ended_badly,
    free_port,
    is_free,
    keys,
    owned,
    public_key,
    remembered_port,
    running,
    withdraw,
)
from .postgres import Postgres
from .redis import Redis
from .supervisor import Program, Stopped, Supervisor

__all__ = [
    "AlipayKeys",
    "AnotherRuns",
    "Child",
    "CouldNotStart",
    "DamagedLog",
    "Keys",
    "NoPort",
    "Postgres",
    "Program",
    "Redis",
    "Services",
    "Stopped",
    "Supervisor",
    "alipay_keys",
    "announce",
    "ended_badly",
    "free_port",
    "is_free",
    "keys",
    "owned",
    "public_key",
    "remembered_port",
    "running",
    "withdraw",
]
