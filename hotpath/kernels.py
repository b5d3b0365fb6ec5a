"""Whether compiled kernels are wanted: SLUICE_PURE_PYTHON=1 runs their readable twins instead."""

import os

WANTED = os.environ.get("SLUICE_PURE_PYTHON") != "1"
