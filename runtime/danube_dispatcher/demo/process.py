"""The worker process, as its parent sees it."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from .reports import Report, decode

TO_CLOSE = 5.0
"""Seconds that a process gets to close everything, before it is killed."""


class WorkerProcess:
    """Started on entry; gone on exit, whatever happens."""

    def __init__(self, folder: Path, store: str, run: int, seed: int) -> None:
        self._complaints = folder / f"stderr.{run}"
        settings = json.dumps({"store": store, "folder": str(folder), "run": run, "seed": seed})
        self._command = [sys.executable, "-m", f"{__package__}.worker", settings]
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        with self._complaints.open("wb") as complaints:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._process.poll() is None:
                self._process.terminate()
                self._process.wait(TO_CLOSE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.kill()  # which does nothing to one that has ended
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            for line in pipe:
                self._lines.put(line)
        self._lines.put(b"")

    def reports(self, tick: float) -> Iterator[Report | None]:
        """What it tells until it ends; None when it has told nothing for `tick` seconds."""
        while True:
            try:
                line = self._lines.get(timeout=tick)
            except queue.Empty:
                yield None
                continue
            if line.endswith(b"\n"):
                yield decode(line)
            else:  # the end, or what a kill has cut off before it
                self._process.wait()
                return

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.poll()

    def kill(self) -> None:
        """`kill -9`: it cannot even notice."""
        self._process.kill()

    def complaints(self) -> str:
        """What it has written to its standard error."""
        return self._complaints.read_text(errors="replace").strip()
