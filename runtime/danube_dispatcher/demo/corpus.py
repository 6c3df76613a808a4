"""The real input: the source files of the running Python's standard library, and what is found out about each."""

from __future__ import annotations

import json
import os
import sysconfig
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..errors import StoreNotFound
from ..messages import Message

NOT_OURS = {"site-packages", "dist-packages", "__pycache__"}
"""What others installed below the standard library, and what is no source."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files in a fixed order: the message at offset n is the n-th. So a publisher that was killed knows from the log alone where to go on."""

    root: Path
    paths: tuple[str, ...]

    @classmethod
    def find(cls, limit: int | None) -> Self:
        """All files, or so many spread over them. Raises StoreNotFound when there are none."""
        root = Path(sysconfig.get_path("stdlib"))
        paths = list[str]()
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(set(folders) - NOT_OURS)
            found = (Path(folder, name) for name in files if name.endswith(".py"))
            paths += [path.relative_to(root).as_posix() for path in found if os.access(path, os.R_OK)]
        if not paths:
            raise StoreNotFound(str(root), "this Python's standard library has no source files to publish; use another Python")
        paths.sort()
        count = min(limit or len(paths), len(paths))
        return cls(root, tuple(paths[n * len(paths) // count] for n in range(count)))

    @classmethod
    def load(cls, path: Path) -> Self:
        root, *paths = json.loads(path.read_text())
        return cls(Path(root), tuple(paths))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps([str(self.root), *self.paths]))

    def payload(self, number: int) -> bytes:
        return (self.root / self.paths[number]).read_bytes()

    def message(self, number: int) -> Message:
        path, payload = self.paths[number], self.payload(number)
        return Message(payload, package(path), {"path": path, "size": str(len(payload))})


def package(path: str) -> str:
    """The top-level package, or module, that a file belongs to."""
    return path.partition("/")[0].removesuffix(".py")


def compiled(payload: bytes, path: str) -> str:
    """What becomes of compiling a file. Some do not compile, and are meant not to: that is a result as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(payload, path, "exec", dont_inherit=True)
        except Exception as error:
            return type(error).__name__
    return "compiled"


def lines(payload: bytes, path: str) -> str:
    return str(payload.count(b"\n"))


def size(payload: bytes, path: str) -> str:
    return str(len(payload))


def packaged(payload: bytes, path: str) -> str:
    return package(path)


Measure = Callable[[bytes, str], str]


@dataclass(frozen=True, slots=True)
class Role:
    """One of the four subscriptions."""

    reliable: bool
    type: str
    measure: Measure
    """What its consumers find out about a file."""
    about: str
    """What its consumers do."""


ROLES: Mapping[str, Role] = {
    "compile": Role(True, "failover", compiled, "compile them: one active, two stand by"),
    "lines": Role(True, "shared", lines, "count lines: three in turn, one is slow"),
    "live-bytes": Role(False, "exclusive", size, "count bytes: one, slow, with a small box"),
    "live-files": Role(False, "shared", packaged, "count files: two in turn"),
}
