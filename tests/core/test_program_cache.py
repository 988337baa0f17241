"""Compiled programs that commands keep, see `keras_deit.core.program_cache`."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
from collections import namedtuple

import keras
import pytest
from weight_files import stored_weights

from keras_deit.core import program_cache
from keras_deit.core.program_cache import VARIABLE, keep_programs, share_programs

DiskUsage = namedtuple("DiskUsage", "total used free")


class Process:
    """A process that keeps programs; `end` is what it does at its end."""

    def __init__(self, monkeypatch, backend="tensorflow"):
        self._locks, self._at_end = {}, []
        monkeypatch.setattr(program_cache.atexit, "register", lambda function: None)
        monkeypatch.setattr(program_cache, "_locks", self._locks)
        monkeypatch.setattr(program_cache, "_at_end", self._at_end)
        self._monkeypatch = monkeypatch
        keep_programs(backend)
        self.folder = self._at_end[0][0] if self._at_end else None

    def programs(self):
        return {f.name: f.read_bytes() for f in self.folder.iterdir() if f.name != "lock"}

    def end(self):
        with self._monkeypatch.context() as patch:
            patch.setattr(program_cache, "_locks", self._locks)
            patch.setattr(program_cache, "_at_end", self._at_end)
            share_programs()

    def kill(self):
        for lock in self._locks.values():
            lock.close()


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    # `keep_programs` sets them, and they are put back after the test.
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=0")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", "none")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "programs"))
    monkeypatch.setattr(program_cache, "_LEAST_FREE_BYTES", 0)
    monkeypatch.setattr(program_cache, "ADDED", {})
    return tmp_path / "programs"


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_next_process_finds_what_one_has_added(backend, root, monkeypatch):
    first = Process(monkeypatch, backend)
    assert first.programs() == {}
    (first.folder / "one").write_bytes(b"program")
    (first.folder / "two.tmp").write_bytes(b"half of")
    running = Process(monkeypatch, backend)
    assert running.programs() == {}
    first.end()
    assert not first.folder.exists() and running.folder.exists()
    second = Process(monkeypatch, backend)
    assert second.programs() == {"one": b"program"}
    variable = {"tensorflow": "TF_XLA_FLAGS", "jax": "JAX_COMPILATION_CACHE_DIR"}[backend]
    before = {"tensorflow": "--tf_xla_auto_jit=0 --tf_xla_persistent_cache_directory=", "jax": ""}
    assert os.environ[variable] == f"{before[backend]}{second.folder}"
    # Another process has compiled the same program.
    (running.folder / "one").write_bytes(b"other bytes")
    (second.folder / "three").write_bytes(b"more")
    running.end()
    second.end()
    found = Process(monkeypatch, backend).programs()
    assert found == {"one": b"program", "three": b"more"}


def test_a_damaged_program_is_removed(root, monkeypatch):
    process = Process(monkeypatch)
    for name in ("good", "bad"):
        (process.folder / name).write_bytes(name.encode())
    process.end()
    (bad,) = root.glob("*/bad.*.program")
    bad.write_bytes(b"ba")
    assert Process(monkeypatch).programs() == {"good": b"good"}
    assert not bad.exists()


def test_the_folder_of_a_process_that_was_killed_is_removed(root, monkeypatch):
    killed, running = Process(monkeypatch), Process(monkeypatch)
    (killed.folder / "one").write_bytes(b"program")
    killed.kill()
    other = Process(monkeypatch)
    assert not killed.folder.exists()
    assert running.folder.exists() and other.programs() == {}


def test_the_oldest_programs_are_removed(root, monkeypatch):
    monkeypatch.setattr(program_cache, "_MOST_BYTES", 250)
    process = Process(monkeypatch)
    for age, name in enumerate(("new", "middle", "old")):
        (process.folder / name).write_bytes(bytes(100))
        os.utime(process.folder / name, (1e9 - age, 1e9 - age))
    process.end()
    assert Process(monkeypatch).programs().keys() == {"new", "middle"}


def test_programs_of_other_flags_and_versions_are_kept_apart(root, monkeypatch):
    process = Process(monkeypatch)
    (process.folder / "one").write_bytes(b"program")
    process.end()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert Process(monkeypatch).programs() == {}
    monkeypatch.delenv("XLA_FLAGS")
    version = program_cache.importlib.metadata.version
    with monkeypatch.context() as patch:
        patch.setattr(program_cache.importlib.metadata, "version", lambda name: "99")
        assert Process(monkeypatch).programs() == {}
    assert program_cache.importlib.metadata.version is version
    assert Process(monkeypatch).programs().keys() == {"one"}


@pytest.mark.parametrize(
    "variables",
    [
        {VARIABLE: ""},
        {VARIABLE: "off"},
        {VARIABLE: "/tmp/a folder"},
        {VARIABLE: "/dev/null/programs"},
        {"TF_XLA_FLAGS": "--tf_xla_persistent_cache_directory=/mine"},
        {"JAX_COMPILATION_CACHE_DIR": "/mine"},
    ],
)
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_nothing_is_kept_without_a_usable_folder(variables, backend, root, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    process = Process(monkeypatch, backend)
    if "TF_XLA_FLAGS" in variables and backend == "jax":
        assert process.folder is not None and os.environ["TF_XLA_FLAGS"] == before["TF_XLA_FLAGS"]
    elif "JAX_COMPILATION_CACHE_DIR" in variables and backend == "tensorflow":
        assert process.folder is not None
    else:
        assert process.folder is None and dict(os.environ) == before


def test_nothing_is_kept_by_pytorch_or_on_a_full_disk(root, monkeypatch):
    assert Process(monkeypatch, "torch").folder is None
    monkeypatch.setattr(program_cache, "_LEAST_FREE_BYTES", 100)
    monkeypatch.setattr(program_cache.shutil, "disk_usage", lambda path: DiskUsage(200, 101, 99))
    assert Process(monkeypatch).folder is None


def test_a_process_that_another_one_starts_has_its_own_folder(root, monkeypatch):
    parent = Process(monkeypatch)
    child = Process(monkeypatch)
    assert child.folder != parent.folder
    flags = f"--tf_xla_auto_jit=0 --tf_xla_persistent_cache_directory={child.folder}"
    assert os.environ["TF_XLA_FLAGS"] == flags


def test_a_process_that_was_forked_shares_nothing(root, monkeypatch):
    process = Process(monkeypatch)
    (process.folder / "one").write_bytes(b"program")
    with monkeypatch.context() as patch:
        patch.setattr(program_cache.os, "getpid", lambda: -1)
        process.end()
    assert process.programs() == {"one": b"program"}


def test_files_of_others_in_the_folder_are_left_alone(root, monkeypatch):
    monkeypatch.setattr(program_cache, "_MOST_BYTES", 1)
    others = [root / "photos" / f"{'0' * 32}.jpg", root / f"{'0' * 32}.one", root / "process-1"]
    for file in others:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(100))
    process = Process(monkeypatch)
    (process.folder / "one").write_bytes(b"program")
    (process.folder / ".hidden").write_bytes(b"a")
    (process.folder / "folder").mkdir()
    process.end()
    assert all(file.exists() for file in others)
    assert Process(monkeypatch).programs() == {}


def test_programs_are_copied_where_there_are_no_links(root, monkeypatch):
    process = Process(monkeypatch)
    (process.folder / "one").write_bytes(b"program")
    process.end()

    def fail(*paths):
        raise OSError("no links")

    monkeypatch.setattr(program_cache.os, "link", fail)
    assert Process(monkeypatch).programs() == {"one": b"program"}


def test_a_program_of_a_full_disk_is_not_shared(root, monkeypatch):
    process = Process(monkeypatch)
    (process.folder / "one").write_bytes(b"prog")
    with monkeypatch.context() as patch:
        patch.setattr(program_cache, "_LEAST_FREE_BYTES", 100)
        patch.setattr(program_cache.shutil, "disk_usage", lambda path: DiskUsage(200, 101, 99))
        process.end()
    assert Process(monkeypatch).programs() == {}


@pytest.mark.slow
@pytest.mark.backends("tensorflow", "jax")
def test_a_command_uses_the_programs_of_an_earlier_one(tmp_path):
    """Instead of a program that is damaged but has the right digest, another one is read."""
    command = pathlib.Path(sys.executable).with_name("keras-deit")
    backend = keras.backend.backend()
    environment = {
        **os.environ,
        VARIABLE: str(tmp_path / "programs"),
        "KERAS_BACKEND": backend,
        # All programs, also those that are compiled in less than a second.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def train(name):
        arguments = ["--dataset", "digits", "--distillation", "none", "--steps", "2"]
        ended = subprocess.run(
            [command, "train", *arguments, "--run_dir", tmp_path / name],
            env=environment,
            capture_output=True,
            text=True,
        )
        return ended, {*tmp_path.glob("programs/*/*")}

    (first, programs), (second, later) = train("first"), train("second")
    assert first.returncode == second.returncode == 0
    assert programs and programs == later
    weights = [stored_weights(tmp_path / name / "final.weights.h5") for name in ("first", "second")]
    assert all((weights[0][name] == values).all() for name, values in weights[1].items())
    config = json.loads((tmp_path / "second" / "config.json").read_text())
    assert "programs" not in str(config["environment"]["variables"])
    for file in programs:
        if "train_step" in file.name or backend == "tensorflow":
            damaged = file.read_bytes()[:1000]
            name = file.name.rsplit(".", 2)[0]
            digest = hashlib.blake2b(damaged, digest_size=16).hexdigest()
            file.unlink()
            (file.parent / f"{name}.{digest}.program").write_bytes(damaged)
    third, _ = train("third")
    read = "Read less bytes" if backend == "tensorflow" else "persistent compilation cache"
    assert read in third.stderr
