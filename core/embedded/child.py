"""A program that runs for us: start it, know that it is ready, stop it, read its last words."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from core.kit.refusal import Kind, Refusal

LOG_BYTES_MAX = 8_000_000
LAST_WORDS_BYTES_MAX = 20_000
TRIES_MAX = 8
POLL_S = 0.02
# Linux calls a program an orphan once the thread that started it ends. This one ends with us.
STARTER = ThreadPoolExecutor(1, thread_name_prefix="starter")


class CouldNotStart(Refusal):
    """A program did not start."""

    kind = Kind.UNAVAILABLE


class Child:
    """Subclass it: say the `command`, and whatever of the hooks the program needs."""

    name: str
    log: Path
    environment: Mapping[str, str] | None = None
    tell: Callable[[str], None] = staticmethod(print)
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None

    def __init__(self, name: str, *, log: Path) -> None:
        self.name = name
        self.log = log
        self._log_start = 0

    def command(self) -> list[str]:
        raise NotImplementedError

    def prepare(self) -> None:
        """Make the ground ready before each start."""

    def ready(self) -> bool:
        return True

    def mend(self) -> bool:
        """It just died: mend what can be mended. True when another try makes sense at once."""
        return False

    def spawn(self) -> None:
        """Start the program without waiting, in a process group of its own.

        A group of its own, so that Ctrl-C reaches only us and we stop things in order.
        """
        self.prepare()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self.process = STARTER.submit(
                subprocess.Popen,
                self.command(),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            ).result()

    def start(self, *, within_s: float = 60) -> None:
        """Start and wait until it is ready; a `CouldNotStart` carries its last words."""
        deadline = time.monotonic() + within_s
        self.spawn()
        for _ in range(TRIES_MAX):
            while self.running():
                if self.ready():
                    return
                if time.monotonic() > deadline:
                    self.stop(within_s=2)
                    raise self.failure(f"{self.name} was not ready within {within_s:.0f} s")
                time.sleep(POLL_S)
            if not self.mend():
                break
            self.spawn()
        raise self.failure(f"{self.name} did not start")

    def stop(self, *, within_s: float = 10) -> None:
        self.ask_to_stop()
        self.wait_stopped(within_s=within_s)

    def ask_to_stop(self) -> None:
        if self.process is not None and self.running():
            self.process.send_signal(self.stop_signal)

    def wait_stopped(self, *, within_s: float) -> None:
        """Wait; what is still there afterwards is killed, and so is what it left behind."""
        if self.process is None:
            return
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.sweep()

    def sweep(self) -> None:
        """End what a dead program left in its process group."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                return

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    def last_words(self) -> str:
        """What it has written since its last start, shortened from the front."""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - LAST_WORDS_BYTES_MAX))
                return log.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def note(self, what: str) -> None:
        """Put a line of our own into its log, and tell whoever watches."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"sluice: {what}\n")
        self.tell(f"{self.name}: {what}")

    def tell_of_leftovers(self, pids: list[int]) -> None:
        if pids:
            listed = ", ".join(map(str, pids))
            self.tell(f"{self.name}: ending what an earlier start left in its folder: {listed}")

    def failure(self, what: str) -> CouldNotStart:
        tail = self.last_words().strip().splitlines()[-12:]
        return CouldNotStart(
            f"{what}; its log is {self.log}", log=str(self.log), last_lines="\n".join(tail)
        )
