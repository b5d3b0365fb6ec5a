"""Chooses the doorkeeper that is compiled from `_admission_py.py`, or that file itself."""

import contextlib

from hotpath import kernels
from hotpath._admission_py import (
    RETRY_AFTER_S_MAX,
    UNDECIDED_IN_QUIET,
    UNDECIDED_MIN,
    Admission,
)

IMPLEMENTATION = "python"
if kernels.WANTED:
    with contextlib.suppress(ImportError):
        from hotpath._admission import Admission

        IMPLEMENTATION = "cython"

__all__ = [
    "IMPLEMENTATION",
    "RETRY_AFTER_S_MAX",
    "UNDECIDED_IN_QUIET",
    "UNDECIDED_MIN",
    "Admission",
]
