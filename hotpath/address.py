"""Chooses the compiled reader of addresses, or its Python twin when there is none."""

import os

from hotpath._address_py import HOPS_MAX, MAPPED, MAPPED_BITS, UNKNOWN, bounds, halves, parse

if os.environ.get("SLUICE_PURE_PYTHON") == "1":
    from hotpath._address_py import Proxies

    IMPLEMENTATION = "python"
else:
    try:
        from hotpath._address import Proxies  # type: ignore[assignment]

        IMPLEMENTATION = "cython"
    except ImportError:
        from hotpath._address_py import Proxies

        IMPLEMENTATION = "python"

__all__ = [
    "HOPS_MAX",
    "IMPLEMENTATION",
    "MAPPED",
    "MAPPED_BITS",
    "UNKNOWN",
    "Proxies",
    "bounds",
    "halves",
    "parse",
]
