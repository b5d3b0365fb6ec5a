"""Builds `hotpath`. Everything else about the project is in pyproject.toml.

SLUICE_PURE_PYTHON=1   build nothing, run the Python twins
SLUICE_DEBUG=1         bounds checks, no optimisation, annotated HTML
"""

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PURE = os.environ.get("SLUICE_PURE_PYTHON") == "1"
DEBUG = os.environ.get("SLUICE_DEBUG") == "1"
HOTPATH = Path("hotpath")
HEADERS = sorted(map(str, HOTPATH.glob("*.h")))
FLAGS = ["-O0", "-g"] if DEBUG else ["-O3", "-g0"]


class OptionalKernels(build_ext):
    """A kernel that does not compile is left out and said so: its Python twin does the same."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:  # noqa: BLE001  a missing compiler shows in many ways
            self.warn(f"no compiled {ext.name}, its Python twin runs instead: {error}")
            ext.optional = True  # or an editable install would look for it


def sources() -> dict[str, Path]:
    """What each kernel is compiled from: its .pyx, or where it has only a .pxd, its very twin."""
    found = {declared.stem: declared.with_suffix(".pyx") for declared in HOTPATH.glob("_*.pxd")}
    found |= {source.stem: source for source in HOTPATH.glob("_*.pyx")}
    found = {
        name: source if source.exists() else HOTPATH / f"{name}_py.py"
        for name, source in sorted(found.items())
    }
    return {name: source for name, source in found.items() if source.exists()}


def kernels() -> list[Extension]:
    from Cython.Build import cythonize

    extensions = [
        Extension(
            f"hotpath.{name}",
            [str(source)],
            include_dirs=["hotpath"],
            depends=HEADERS,
            extra_compile_args=FLAGS,
        )
        for name, source in sources().items()
    ]
    return cythonize(
        extensions,
        annotate=DEBUG,
        force=True,  # Cython looks at times only, and misses that the directives changed
        # Twins that are compiled as they stand have their types in the .pxd.
        compiler_directives={"annotation_typing": False} | ({"boundscheck": True} if DEBUG else {}),
    )


setup(
    ext_modules=[] if PURE or not sources() else kernels(),
    cmdclass={"build_ext": OptionalKernels},
)
