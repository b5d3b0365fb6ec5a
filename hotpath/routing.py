"""Chooses the compiled routing kernel, or its Python twin when there is none."""

import os

if os.environ.get("SLUICE_PURE_PYTHON") == "1":
    from hotpath._routing_py import bucket_of, nearest

    IMPLEMENTATION = "python"
else:
    try:
        from hotpath._routing import bucket_of, nearest

        IMPLEMENTATION = "cython"
    except ImportError:
        from hotpath._routing_py import bucket_of, nearest

        IMPLEMENTATION = "python"

__all__ = ["IMPLEMENTATION", "bucket_of", "nearest"]
