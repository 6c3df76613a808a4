"""Which store a URL names, and which URLs name none."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from danube_dispatcher.errors import InvalidArgument
from danube_dispatcher.storage import identity, open_store

BAD = [
    ("", "no known scheme.*'memory:' and 'sqlite:'"),
    ("queue.db", "no known scheme.*'memory:' and 'sqlite:'"),
    ("nats://localhost", "no known scheme.*'memory:' and 'sqlite:'"),
    ("SQLITE:queue.db", "no known scheme"),
    (b"memory:", "needs a URL"),
    (None, "needs a URL"),
    ("memory:here", "nothing after the colon"),
    ("sqlite:", "no path"),
    ("sqlite://queue.db", "write 'sqlite:/queue.db' or 'sqlite:queue.db'"),
    ("sqlite:///var/queue.db", "write 'sqlite:/var/queue.db' or 'sqlite:var/queue.db'"),
    ("sqlite:a\0b", "NUL"),
    ("sqlite:\ud800", "no file name can have"),
    ("sqlite:folder/", "names a directory"),
]


@pytest.mark.parametrize(("url", "problem"), BAD)
async def test_a_bad_url_says_what_is_wrong(url: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgument, match=problem) as raised:
        await open_store(url, create=True)
    assert raised.value.name == "store"
    with pytest.raises(InvalidArgument, match=problem):
        identity(url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["plain.db", "a b?c#d%41e&f=g.db", ":memory:", "file:x", "ü✓.db", os.fsdecode(b"latin-\xfc.db"), " ", "n" * 200])
async def test_a_path_is_taken_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = await open_store(f"sqlite:{name}", create=True)
    await store.topic("/a/b", create=True)
    await store.close()
    assert os.listdir(tmp_path) == [name]
    store = await open_store(f"sqlite:{tmp_path / name}", create=False)
    assert await store.topics() == ["/a/b"]
    await store.close()


def test_identity_is_of_the_real_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to("real.db")
    expected = f"sqlite:{os.path.realpath(tmp_path / 'real.db')}"
    assert {identity(url) for url in ("sqlite:real.db", "sqlite:./x/../real.db", f"sqlite:{tmp_path}/real.db", "sqlite:link.db")} == {expected}
    assert identity("memory:") == "memory:"
    assert identity("sqlite:other.db") != expected


async def test_a_link_leads_to_the_store(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("real.db")
    store = await open_store(f"sqlite:{tmp_path / 'link.db'}", create=True)
    await store.topic("/a/b", create=True)
    await store.close()
    assert (tmp_path / "real.db").is_file()
    assert (tmp_path / "link.db").is_symlink()


async def test_each_memory_store_is_a_new_one() -> None:
    one, other = await asyncio.gather(open_store("memory:", create=True), open_store("memory:", create=False))
    await one.topic("/a/b", create=True)
    assert await other.topics() == []


def test_sqlite_is_loaded_only_when_it_is_used() -> None:
    script = """
import asyncio, sys
from danube_dispatcher.storage import identity, open_store
store = asyncio.run(open_store("memory:", create=True))
identity("sqlite:x.db")
sys.exit("sqlite3 was loaded" if "sqlite3" in sys.modules else 0)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
