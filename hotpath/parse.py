"""Chooses the compiled parser of claims, or its Python twin when there is none."""

import os

from hotpath._parse_py import MORE, Wanted

if os.environ.get("SLUICE_PURE_PYTHON") == "1":
    from hotpath._parse_py import read

    IMPLEMENTATION = "python"
else:
    try:
        from hotpath._parse import read

        IMPLEMENTATION = "cython"
    except ImportError:
        from hotpath._parse_py import read

        IMPLEMENTATION = "python"

__all__ = ["IMPLEMENTATION", "MORE", "Wanted", "read"]
