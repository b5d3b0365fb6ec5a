"""Chooses the compiled till, or its Python twin when there is none."""

import contextlib

from hotpath import kernels
from hotpath._till_py import (
    DEVICE_MAX,
    NEVER,
    Block,
    Figures,
    Language,
    Line,
    Refuse,
    Till,
    is_device,
)

IMPLEMENTATION = "python"
if kernels.WANTED:
    with contextlib.suppress(ImportError):
        from hotpath._till import Figures, Line, Till

        IMPLEMENTATION = "cython"

__all__ = [
    "DEVICE_MAX",
    "IMPLEMENTATION",
    "NEVER",
    "Block",
    "Figures",
    "Language",
    "Line",
    "Refuse",
    "Till",
    "is_device",
]
