"""The disks that forget, tested before anything is tested on them."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults import disks, forgetful

# Written as a victim would: a process of its own, killed with its files open.
PROLOGUE = """
import os, sys, time
def put(name, data, sync=False, flags=os.O_APPEND):
    file = os.open(name, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    os.write(file, data)
    if sync:
        os.fdatasync(file)
    return file
def sync_folder(name="."):
    folder = os.open(name, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
"""
EPILOGUE = """
print("done", flush=True)
time.sleep(60)
"""


@pytest.fixture(params=sorted(disks.KINDS))
def disk(request, tmp_path) -> Iterator[disks.PowerCutDisk]:
    try:
        disk = disks.KINDS[request.param](tmp_path / "disk")
    except disks.Refused as refusal:
        pytest.skip(str(refusal))
    with disk:
        yield disk


def run(disk: disks.PowerCutDisk, body: str, *, wait_held: bool = False) -> str:
    """Run Python on the disk until it is done (or held), and kill it there."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + body + EPILOGUE],
        cwd=disk.folder,
        env={**os.environ, **disk.environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if wait_held:
            disk.wait_held(10)
            return ""
        return process.stdout.readline().strip()
    finally:
        process.kill()
        if not wait_held:
            process.wait()
        process.stdout.close()
        if wait_held:
            disk.cut(0, "nothing")
            process.wait()


def contents(disk: disks.PowerCutDisk) -> dict[str, bytes]:
    return {
        path.relative_to(disk.folder).as_posix(): path.read_bytes()
        for path in sorted(disk.folder.rglob("*"))
        if path.is_file()
    }


def test_what_was_fsynced_survives_and_what_was_not_is_lost(disk):
    assert (
        run(disk, 'put("a", b"kept", sync=True); put("a", b" lost"); put("b", b"lost")') == "done"
    )
    forgotten = disk.cut(1, "nothing")
    assert contents(disk) == {"a": b"kept"}
    assert (forgotten.bytes, forgotten.names) == (5, 1)


def test_without_a_cut_a_killed_process_loses_nothing(disk):
    assert run(disk, 'put("a", b"kept", sync=True); put("a", b" too"); put("b", b"x")') == "done"
    assert contents(disk) == {"a": b"kept too", "b": b"x"}
    disk.cut(1, "all")
    assert contents(disk) == {"a": b"kept too", "b": b"x"}


def test_a_rename_survives_once_its_folder_was_fsynced(disk):
    body = """
put("old", b"new text", sync=True)
put("name", b"text", sync=True)
os.rename("old", "name")
"""
    assert run(disk, body + "sync_folder()") == "done"
    disk.cut(1, "nothing")
    assert contents(disk) == {"name": b"new text"}


def test_a_rename_that_was_not_fsynced_is_seen_done_or_not_done_and_never_half(disk):
    seen = set()
    for seed in range(20):
        body = f"""
put("old{seed}", b"new", sync=True)
put("name{seed}", b"text", sync=True)
os.rename("old{seed}", "name{seed}")
"""
        assert run(disk, body) == "done"
        disk.cut(seed)
        after = {k: v for k, v in contents(disk).items() if k.endswith(str(seed))}
        if after == {f"name{seed}": b"new"}:
            seen.add("done")
        else:
            assert after == {f"name{seed}": b"text", f"old{seed}": b"new"}
            seen.add("not done")
        if len(seen) == 2:
            return
    pytest.fail(f"twenty seeds chose only {seen}")


def test_folders_truncation_overwriting_and_removal(disk):
    body = """
os.mkdir("log")
put("log/a", b"0123456789", sync=True)
file = put("log/a", b"AB", sync=True, flags=0)
os.ftruncate(file, 4)
os.fsync(file)
put("log/b", b"gone", sync=True)
os.unlink("log/b")
sync_folder("log")
os.ftruncate(file, 0)
"""
    assert run(disk, body) == "done"
    disk.cut(1, "nothing")
    assert contents(disk) == {"log/a": b"AB23"}


def test_bytes_written_through_stdio_survive_their_fsync(disk):
    body = """
import ctypes
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
stream = ctypes.c_void_p(libc.fopen(b"a", b"w"))
libc.fwrite(b"kept", 1, 4, stream)
libc.fflush(stream)
libc.fsync(libc.fileno(stream))
libc.fwrite(b"lost", 1, 4, stream)
libc.fflush(stream)
"""
    assert run(disk, body) == "done"
    disk.cut(1, "nothing")
    assert contents(disk) == {"a": b"kept"}


def test_a_torn_tail_begins_with_what_was_fsynced(disk):
    sizes = set()
    for seed in range(6):
        body = f'put("a{seed}", b"k" * 5000, sync=True); put("a{seed}", b"t" * 20000)'
        assert run(disk, body) == "done"
        disk.cut(seed, "prefix")
        data = contents(disk)[f"a{seed}"]
        assert data == b"k" * 5000 + b"t" * (len(data) - 5000)
        sizes.add(len(data))
    assert len(sizes) > 1


def test_the_disk_stops_dead_before_the_operation_it_was_told(disk):
    disk.hold_at(4)  # create, write, fsync, and then the second write
    run(disk, 'put("a", b"kept", sync=True); put("a", b"never", sync=True)', wait_held=True)
    assert contents(disk) == {"a": b"kept"}
    assert not disk.is_held()
    assert run(disk, 'put("a", b" on", sync=True)') == "done"
    disk.cut(1, "nothing")
    assert contents(disk) == {"a": b"kept on"}


def test_a_thousand_fsyncs_take_less_than_two_seconds(disk):
    body = """
file = put("a", b"")
for _ in range(1000):
    os.write(file, b"x" * 200)
    os.fdatasync(file)
"""
    begun = time.monotonic()
    assert run(disk, body) == "done"
    took = time.monotonic() - begun
    assert disk.fsyncs() == 1000
    disk.cut(1, "nothing")
    assert contents(disk) == {"a": b"x" * 200_000}
    print(f"{disk.name}: {1000 / took:.0f} fsyncs/s")
    assert took < 2


def test_the_fuse_disk_is_gone_when_its_owner_is(tmp_path):
    owner = f"""
import os, pathlib, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.faults import disks
try:
    disk = disks.FuseDisk(pathlib.Path({str(tmp_path / "disk")!r}))
except disks.Refused:
    sys.exit(0)
print(disk.process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", owner], check=False, capture_output=True, text=True, timeout=30
    )
    if done.returncode == 0:
        pytest.skip("FUSE is refused here")
    until = time.monotonic() + 10
    while (tmp_path / "disk" / "mount").is_mount() and time.monotonic() < until:
        time.sleep(0.02)
    assert not (tmp_path / "disk" / "mount").is_mount()


def test_the_shadow_takes_the_place_of_a_fuse_that_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TEST_POWER_CUT", raising=False)
    monkeypatch.setenv("FUSE_LIBRARY_PATH", str(tmp_path / "no such library"))
    try:
        disk = disks.choose(tmp_path)
    except disks.Refused as refusal:
        pytest.skip(str(refusal))
    with disk:
        assert disk.name == "shadow"
    assert "shadow takes its place" in capsys.readouterr().out


def test_one_kind_of_disk_can_be_forced(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_POWER_CUT", "shadow")
    try:
        disk = disks.choose(tmp_path)
    except disks.Refused as refusal:
        pytest.skip(str(refusal))
    with disk:
        assert disk.name == "shadow"


NAMES = st.sampled_from(("a", "b", "c"))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), NAMES, st.integers(0, 40), st.binary(max_size=20)),
        st.tuples(st.just("truncate"), NAMES, st.integers(0, 40)),
        st.tuples(st.just("sync"), NAMES),
        st.tuples(st.just("rename"), NAMES, NAMES),
        st.tuples(st.just("remove"), NAMES),
        st.tuples(st.just("sync_root")),
    ),
    max_size=30,
)


def play(disk: forgetful.Disk, steps: list) -> list[dict[str, bytes]]:
    """Do the steps; what the root held after each of them, oldest first."""
    history = [{}]
    for verb, *facts in steps:
        present = facts and facts[0] in disk.root.seen
        if verb == "write":
            file = disk.file(facts[0]) if present else disk.create(facts[0])
            file.write(facts[1], facts[2])
        elif verb == "sync_root":
            disk.sync(disk.root)
        elif present and verb == "truncate":
            disk.file(facts[0]).truncate(facts[1])
        elif present and verb == "sync":
            disk.sync(disk.file(facts[0]))
        elif present and verb in {"rename", "remove"}:
            getattr(disk, verb)(*facts)
        history.append({name: bytes(node.seen) for name, node in disk.root.seen.items()})
    return history


@given(STEPS, st.integers(0, 1000))
def test_after_a_full_sync_no_cut_changes_anything(steps, seed):
    disk = forgetful.Disk()
    before = play(disk, steps)[-1]
    disk.sync_all()
    assert disk.cut(seed) == forgetful.Forgotten(0, 0, {})
    assert {name: bytes(node.seen) for name, node in disk.root.seen.items()} == before


@given(STEPS, NAMES, st.integers(0, 1000))
def test_a_file_just_fsynced_is_whole_after_any_cut(steps, name, seed):
    disk = forgetful.Disk()
    play(disk, [*steps, ("write", name, 3, b"last words"), ("sync", name)])
    before = bytes(disk.file(name).seen)
    disk.cut(seed)
    assert bytes(disk.file(name).seen) == before


@given(STEPS, st.integers(0, 1000))
def test_the_names_that_survive_are_those_of_one_instant(steps, seed):
    disk = forgetful.Disk()
    history = play(disk, steps)
    disk.cut(seed)
    assert disk.root.seen.keys() in [names.keys() for names in history]


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_the_shadow_finds_the_way_from_kept_to_seen(kept, seen):
    file = forgetful.File(bytearray(seen), bytearray(kept))
    file.changes = disks._difference(file.kept, file.seen)
    file.sync()
    assert bytes(file.kept) == seen


def test_the_same_seed_forgets_the_same():
    outcomes = set()
    for _ in range(3):
        disk = forgetful.Disk()
        rng = random.Random(7)
        for name in "abcdef":
            disk.create(name).write(0, rng.randbytes(9000))
        disk.cut(11)
        outcomes.add(tuple((name, bytes(node.seen)) for name, node in disk.root.seen.items()))
    assert len(outcomes) == 1
