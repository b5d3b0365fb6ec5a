"""Chooses what is known to be gone that is compiled from `_soldout_py.py`, or that file itself."""

import contextlib

from hotpath import kernels
from hotpath._soldout_py import LEASE_S, Holders, Look, Reading, SoldOut

IMPLEMENTATION = "python"
if kernels.WANTED:
    with contextlib.suppress(ImportError):
        from hotpath._soldout import Holders, Look, Reading, SoldOut

        IMPLEMENTATION = "cython"

__all__ = ["IMPLEMENTATION", "LEASE_S", "Holders", "Look", "Reading", "SoldOut"]
