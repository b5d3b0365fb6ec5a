"""Keeps children running in order, brings each back when it dies, and stops all of them."""

import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from core.kit.refusal import Refusal

from . import process
from .child import Child

BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 5.0
STEADY_S = 30.0
"A child that ran this long starts again with the first backoff."
STOP_S_MAX = 12.0
STOP_GROUP_S_MAX = 5.0
LOOK_S = 0.5
READY_LOOK_S = 0.03
START_TRIES_MAX = 8
ORPHAN_ROUNDS_MAX = 5
PR_SET_CHILD_SUBREAPER = 36
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(Exception):
    """A signal asked us to stop."""


class Program(Child):
    """A plain program: it is ready when it runs."""

    def __init__(
        self, name: str, argv: Sequence[str], *, log: Path, environment: Mapping[str, str]
    ) -> None:
        super().__init__(name, log=log)
        self.argv = list(argv)
        self.environment = environment

    def command(self) -> list[str]:
        return process.tethered(self.argv, parting="TERM")


@dataclass
class Watched:
    child: Child
    since: float = field(default_factory=time.monotonic)
    backoff_s: float = BACKOFF_FIRST_S
    back_at: float | None = None
    complaint: str = ""
    settled: bool = False
    "Brought back when it dies; before it was ready once, a death is a failed start."


class Supervisor:
    """Use it as a context, in the main thread: it owns the process's signals meanwhile.

    One thread on purpose: the kernel sends a child's parting signal when the thread that
    made the child ends, not when the process does. Every child of the process counts as ours.
    """

    def __init__(self, *, say: Callable[[str], None]) -> None:
        self._say = say
        self._groups: list[list[Watched]] = []
        self._asked = False
        self._wake_r, self._wake_w = -1, -1
        self._handlers: dict[signal.Signals, Callable[[int, FrameType | None], None] | int | None]
        self._handlers = {}

    def __enter__(self) -> Self:
        # Orphans of a killed child come to us instead of leaving the family.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        for number in STOPPING:
            self._handlers[number] = signal.signal(number, self._ask)
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._wake_r)
        os.close(self._wake_w)

    def start(self, *children: Child, within_s: float = 60) -> None:
        """Start these side by side and wait until all are ready; they are stopped together."""
        group: list[Watched] = []
        self._groups.append(group)
        for child in children:
            child.tell = self._say
            child.spawn()
            group.append(Watched(child))
        deadline = time.monotonic() + within_s
        for watched in group:
            self._wait_ready(watched, deadline)

    def run(self, program: Program, *, within_s: float = 300) -> None:
        """Run a program to its end; anything but success is a `CouldNotStart`."""
        deadline = time.monotonic() + within_s
        group = [Watched(program)]
        self._groups.append(group)
        try:
            program.spawn()
            while program.running():
                self.pause(LOOK_S)
                if time.monotonic() > deadline:
                    raise program.failure(f"{program.name} took longer than {within_s:.0f} s")
        finally:
            self._groups.remove(group)
            self._stop_group(group, within_s=2)
        if program.process is not None and program.process.returncode:
            raise program.failure(f"{program.name} failed")

    def watch(self) -> None:
        """Keep the children running until a signal asks us to stop."""
        try:
            while True:
                self.pause(LOOK_S)
        except Stopped:
            return

    def pause(self, within_s: float) -> None:
        """Wait for news of a child, at most this long, and bring back who died."""
        due = [w.back_at for group in self._groups for w in group if w.back_at is not None]
        if due:
            within_s = max(0.0, min(within_s, min(due) - time.monotonic()))
        if select.select([self._wake_r], [], [], within_s)[0]:
            os.read(self._wake_r, 4096)
        if self._asked:
            raise Stopped
        self._reap_orphans()
        for group in self._groups:
            for watched in group:
                self._look_after(watched)

    def stop(self) -> None:
        """Stop all, last started first, within a time that nothing can stretch."""
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        deadline = time.monotonic() + STOP_S_MAX
        while self._groups:
            left_s = max(1.0, deadline - time.monotonic())
            self._stop_group(self._groups.pop(), within_s=min(STOP_GROUP_S_MAX, left_s))
        self._end_orphans()

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    def _wait_ready(self, watched: Watched, deadline: float) -> None:
        child = watched.child
        tries = 0
        while not (child.running() and child.ready()):
            if time.monotonic() > deadline:
                raise child.failure(f"{child.name} was not ready in time")
            if not child.running():
                tries += 1
                if tries > START_TRIES_MAX or not child.mend():
                    raise child.failure(f"{child.name} did not start")
                child.spawn()
            self.pause(READY_LOOK_S)
        watched.settled = True

    def _look_after(self, watched: Watched) -> None:
        now = time.monotonic()
        if not watched.settled:
            return
        if watched.back_at is None and not watched.child.running():
            self._plan_return(watched, now)
        if watched.back_at is not None and now >= watched.back_at:
            self._bring_back(watched, now)

    def _plan_return(self, watched: Watched, now: float) -> None:
        child = watched.child
        child.sweep()
        if now - watched.since > STEADY_S:
            watched.backoff_s = BACKOFF_FIRST_S
        self._say(f"{child.name} {_how_it_ended(child)}; starting it again")
        watched.back_at = now + watched.backoff_s
        watched.backoff_s = min(2 * watched.backoff_s, BACKOFF_MAX_S)

    def _bring_back(self, watched: Watched, now: float) -> None:
        try:
            watched.child.mend()
            watched.child.spawn()
        except (Refusal, OSError, subprocess.SubprocessError) as error:
            # A person has to mend this: say it once, and look again from time to time.
            if str(error) != watched.complaint:
                watched.complaint = str(error)
                self._say(f"{watched.child.name}: {error}")
            watched.back_at = now + BACKOFF_MAX_S
            return
        watched.back_at, watched.since, watched.complaint = None, now, ""

    def _stop_group(self, group: list[Watched], *, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        for watched in reversed(group):
            watched.child.ask_to_stop()
        for watched in reversed(group):
            watched.child.wait_stopped(within_s=max(0.05, deadline - time.monotonic()))

    def _known(self) -> set[int]:
        return {
            w.child.process.pid
            for group in self._groups
            for w in group
            if w.child.process is not None
        }

    def _reap_orphans(self) -> None:
        """Take the exit status of processes that were not ours until their parent died."""
        while (pid := _dead_child()) is not None and pid not in self._known():
            os.waitpid(pid, os.WNOHANG)

    def _end_orphans(self) -> None:
        """End what our children left; a round may bring up the next generation."""
        for _ in range(ORPHAN_ROUNDS_MAX):
            left = process.children(os.getpid())
            process.end(left, by=signal.SIGTERM, within_s=1)
            process.end(left, by=signal.SIGKILL, within_s=1)
            self._reap_orphans()
            if not left:
                return


def _dead_child() -> int | None:
    try:
        dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return dead.si_pid if dead else None


def _how_it_ended(child: Child) -> str:
    code = child.process.returncode if child.process is not None else 0
    return f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
