"""What identifies the data: the names, sizes, times and contents of its files."""

import dataclasses
import functools
import gzip
import hashlib
import json
import os
import stat
import time
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from keras_deit.core.files import atomic_write, file_digest
from keras_deit.core.names import printable

_FILES_PER_TASK = 64
_SMALL_FILE = 2**20
_MIN_FILES_FOR_PROGRESS = 1000
# Two changes of a file within this time can have one modification time on some file systems, so
# the contents of a file that was changed just now are not remembered.
_CLOCK_NS = 2 * 10**9
_MAX_LISTED = 3


@dataclasses.dataclass(frozen=True)
class FileState:
    """What the file system says of a file.

    Attributes:
        size: in bytes; -1 if the file cannot be read or is not a regular file.
        modified, changed: times in nanoseconds: of its contents, and of anything about it, which
            no program can set back.
    """

    size: int
    modified: int
    changed: int


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """The files of a dataset as they are on the disk.

    The files are listed and looked up at once. Their contents are read when `contents` is asked
    for the first time, and their digests are remembered in the user's cache folder, by folder, for
    as long as size and times of a file stay the same.

    Attributes:
        place: absolute path of the folder.
        files: state of each file by its name relative to the folder.
        max_bytes: the contents are read if all files together are not larger; otherwise those of
            small files are, and others are known by their size. None to always read them.
    """

    place: str
    files: dict[str, FileState]
    max_bytes: int | None = None

    @functools.cached_property
    def contents(self) -> dict[str, str]:
        """Digest of the contents of each file, by its relative name; its size if it is not read."""
        total = sum(state.size for state in self.files.values())
        read_all = self.max_bytes is None or total <= self.max_bytes
        to_read = {
            name: state
            for name, state in self.files.items()
            if state.size >= 0 and (read_all or state.size <= _SMALL_FILE)
        }
        digests = _digests(self.place, to_read)
        return {
            name: digests.get(name) or f"{state.size} bytes" for name, state in self.files.items()
        }

    @functools.cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that stand for the names and contents of all files.

        They are the same for a copy at another place.
        """
        return _digest_of(self.contents)

    @property
    def summary(self) -> dict:
        """Place, number of files, their size and digest, as JSON values."""
        size = sum(max(0, state.size) for state in self.files.values())
        return {
            "place": printable(self.place),
            "files": len(self.files),
            "bytes": size,
            "digest": self.digest,
        }

    def save(self, path: Path) -> None:
        """Writes names, sizes, times and digests to a `.json.gz` file, atomically."""
        files = {
            name: [state.size, state.modified, self.contents[name]]
            for name, state in self.files.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, {"place": self.place, "files": files})

    def changes_since(self, path: Path, digest: str | None = None) -> str:
        """Returns in what the files differ from those of another time, in words; empty if not.

        Args:
            path: file that `save` has written then; without it only the digests are compared.
            digest: `digest` of that time; None for that of the file.
        """
        stored = _read(path).get("files", {})
        old = {name: entry[-1] for name, entry in stored.items()}
        known = old and _digest_of(old)
        if (digest or known or self.digest) == self.digest:
            return ""
        if digest not in (None, known):
            return f"the digest of its files was {digest} and is {self.digest}"
        new = self.contents
        changes = (
            ("new {}", sorted(new.keys() - old.keys())),
            ("{} gone", sorted(old.keys() - new.keys())),
            ("{} with other contents", sorted(n for n in old if new.get(n, old[n]) != old[n])),
        )
        return ", ".join(_counted(kind, names) for kind, names in changes if names)

    def shared_with(self, path: Path) -> int:
        """Returns how many files have contents that are among those of another time or place.

        Args:
            path: file that `save` has written then.
        """
        stored = {entry[-1] for entry in _read(path).get("files", {}).values()}
        return sum(value in stored for value in self.contents.values() if " " not in value)


def fingerprint_of(
    folder: str | Path, paths: Iterable[str], max_bytes: int | None = None
) -> Fingerprint:
    """Returns the fingerprint of some files below a folder.

    Args:
        folder: the folder.
        paths: paths that begin with the path of the folder.
        max_bytes: as in `Fingerprint`.
    """
    start = os.path.join(str(folder), "")
    files = {path.removeprefix(start): _state(path) for path in paths}
    return Fingerprint(os.path.abspath(folder), files, max_bytes)


def _state(path: str) -> FileState:
    try:
        found = os.stat(path)
    except OSError:
        return FileState(-1, 0, 0)
    size = found.st_size if stat.S_ISREG(found.st_mode) else -1
    return FileState(size, found.st_mtime_ns, found.st_ctime_ns)


def _digest_of(contents: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(b"%s\0%s\0" % (os.fsencode(name), contents[name].encode()))
    return digest.hexdigest()[:16]


def _counted(kind: str, names: list[str]) -> str:
    """Returns how many files there are of a kind, such as "new {}", and the first ones."""
    shown = [printable(name) for name in names[:_MAX_LISTED]]
    more = ["..."] if len(names) > _MAX_LISTED else []
    files = kind.format("file" if len(names) == 1 else "files")
    return f"{len(names):,} {files} ({', '.join([*shown, *more])})"


def _digests(place: str, files: dict[str, FileState]) -> dict[str, str]:
    """Returns the digests of the contents of files; those that cannot be read are left out."""
    cache = _cache_file(place)
    keys = {name: [s.size, s.modified, s.changed] for name, s in files.items()}
    known = {
        name: entry[3]
        for name, entry in _read(cache).get("files", {}).items()
        if entry[:3] == keys.get(name)
    }
    unknown = [name for name in files if name not in known]
    if not unknown:
        return known
    digests = known | dict(_read_contents(place, unknown))
    settled = time.time_ns() - _CLOCK_NS
    remembered = {
        name: [*keys[name], digest]
        for name, digest in digests.items()
        if max(files[name].modified, files[name].changed) < settled
    }
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        _write(cache, {"files": remembered})
    except OSError:
        pass  # Without a cache the files are read again.
    return digests


def _read_contents(place: str, names: list[str]) -> Iterator[tuple[str, str]]:
    groups = [names[i : i + _FILES_PER_TASK] for i in range(0, len(names), _FILES_PER_TASK)]
    with (
        ThreadPoolExecutor() as pool,
        tqdm(
            total=len(names),
            desc="Reading images",
            unit="image",
            disable=len(names) <= _MIN_FILES_FOR_PROGRESS,
        ) as progress,
    ):
        results = pool.map(lambda group: [_digest(os.path.join(place, n)) for n in group], groups)
        for group, digests in zip(groups, results, strict=True):
            progress.update(len(group))
            yield from (pair for pair in zip(group, digests, strict=True) if pair[1])


def _digest(path: str) -> str | None:
    try:
        return file_digest(path)[:32]
    except OSError:
        return None


def _cache_file(place: str) -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    name = hashlib.sha256(os.fsencode(place)).hexdigest()[:32]
    return Path(root, "keras_deit", "folders", f"{name}.json.gz")


def _write(path: Path, values: dict) -> None:
    with atomic_write(path) as partial, gzip.open(partial, "wt", 1, encoding="ascii") as file:
        json.dump(values, file)


def _read(path: Path) -> dict:
    """Returns what `_write` has written; empty if there is nothing that can be read."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            values = json.load(file)
    except (OSError, EOFError, ValueError, zlib.error):
        return {}
    return values if isinstance(values, dict) else {}
