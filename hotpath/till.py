"""Chooses the compiled till, or its Python twin when there is none."""

import os

from hotpath._till_py import DEVICE_MAX, NEVER, Block, Language, Refuse, is_device

if os.environ.get("SLUICE_PURE_PYTHON") == "1":
    from hotpath._till_py import Figures, Line, Till

    IMPLEMENTATION = "python"
else:
    try:
        from hotpath._till import Figures, Line, Till  # type: ignore[assignment]

        IMPLEMENTATION = "cython"
    except ImportError:
        from hotpath._till_py import Figures, Line, Till

        IMPLEMENTATION = "python"

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
