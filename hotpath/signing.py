"""Chooses the compiled signer, or its Python twin when there is none."""

import os

if os.environ.get("SLUICE_PURE_PYTHON") == "1":
    from hotpath._signing_py import Signer, base64url

    IMPLEMENTATION = "python"
else:
    try:
        from hotpath._signing import Signer, base64url  # type: ignore[assignment]

        IMPLEMENTATION = "cython"
    except ImportError:
        from hotpath._signing_py import Signer, base64url

        IMPLEMENTATION = "python"

__all__ = ["IMPLEMENTATION", "Signer", "base64url"]
