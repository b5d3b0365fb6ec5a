"""The launcher's own parts. That it sets up a fresh machine, `.ci/run` shows."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """The launcher as a module, on a folder of its own."""
    module = types.ModuleType("launcher")
    module.__file__ = str(ROOT / "sluice")
    exec(compile((ROOT / "sluice").read_text(), "sluice", "exec"), module.__dict__)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "LOCK", tmp_path / "requirements.lock")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.7\n")
    (tmp_path / "hotpath").mkdir()
    (tmp_path / "requirements.lock").write_text("one==1 \\\n    --hash=sha256:00\n")
    return module


def test_help_works_before_any_set_up(tmp_path):
    (tmp_path / "sluice").write_text((ROOT / "sluice").read_text())
    done = subprocess.run(
        [sys.executable, tmp_path / "sluice", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: ./sluice VERB")
    assert [path.name for path in tmp_path.iterdir()] == ["sluice"]


def test_the_launcher_needs_nothing_but_the_standard_library():
    script = f"import runpy; runpy.run_path({str(ROOT / 'sluice')!r}, run_name='tested')"
    subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True)


def test_packages_are_installed_anew_when_the_lock_or_the_python_changes(launcher):
    assert not launcher.packages_are_installed()
    launcher.write_stamp("packages", {"inputs": launcher.fingerprint([launcher.LOCK])})
    assert launcher.packages_are_installed()
    launcher.LOCK.write_text("one==2 \\\n    --hash=sha256:11\n")
    assert not launcher.packages_are_installed()
    launcher.write_stamp("packages", {"inputs": launcher.fingerprint([launcher.LOCK])})
    (launcher.VENV / "pyvenv.cfg").write_text("version = 3.12.1\n")
    assert not launcher.packages_are_installed()


def stamp_kernels(launcher):
    done = {
        "inputs": launcher.kernel_inputs(),
        "tools": launcher.build_tools(),
        "missing": launcher.missing_kernels(),
    }
    launcher.write_stamp("kernels", done)


def test_kernels_are_built_anew_when_a_source_changes_or_a_module_is_gone(launcher):
    source = launcher.ROOT / "hotpath" / "_fast.pyx"
    module = launcher.ROOT / "hotpath" / "_fast.cpython-311-x86_64-linux-gnu.so"
    source.write_text("x = 1")
    module.touch()
    stamp_kernels(launcher)
    assert launcher.kernels_are_built()
    source.write_text("x = 2")
    assert not launcher.kernels_are_built()
    stamp_kernels(launcher)
    module.unlink()
    assert not launcher.kernels_are_built()


def test_kernels_are_tried_again_once_there_is_a_compiler(launcher, monkeypatch):
    (launcher.ROOT / "hotpath" / "_fast.pyx").write_text("x = 1")
    monkeypatch.setenv("CC", "")
    monkeypatch.setattr(launcher.shutil, "which", lambda name: None)
    stamp_kernels(launcher)
    assert launcher.kernels_are_built()  # as far as they can be
    monkeypatch.setattr(launcher.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert not launcher.kernels_are_built()


def test_the_build_tools_come_from_the_lock_with_their_hashes(launcher):
    tools = launcher.lock_entries(["one"])
    assert tools == "one==1 \\\n    --hash=sha256:00\n"


def test_an_old_environment_does_not_fit(launcher):
    python = launcher.VENV / "bin" / "python"
    python.parent.mkdir()
    python.touch(mode=0o755)
    launcher.PYTHON = python
    assert launcher.venv_fits()
    (launcher.VENV / "pyvenv.cfg").write_text("version = 3.9.2\n")
    assert not launcher.venv_fits()
