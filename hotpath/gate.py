"""Chooses the gate that is compiled from `_gate_py.py`, or that file itself."""

import contextlib

from hotpath import kernels
from hotpath._gate_py import Counters, Done, Gate

IMPLEMENTATION = "python"
if kernels.WANTED:
    with contextlib.suppress(ImportError):
        from hotpath._gate import Counters, Gate

        IMPLEMENTATION = "cython"

__all__ = ["IMPLEMENTATION", "Counters", "Done", "Gate"]
