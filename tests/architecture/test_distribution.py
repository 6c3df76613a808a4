"""What `pip install danube-dispatcher` gives, tried outside the checkout (make wheel-test)."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("danube_statemachines", "danube_dispatcher")

pytestmark = pytest.mark.packaging


def run(*command: str | Path, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs of a fresh environment are that has the wheel and nothing else of ours."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    run(programs / "python", "-m", "pip", "install", "--quiet", next(built.glob("*.whl")), cwd=folder)
    return programs


def test_the_wheel_holds_the_two_packages_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        text = wheel.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert {f"danube_dispatcher/live/assets/live.{kind}" for kind in ("html", "css", "js")} <= set(names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    metadata = text.splitlines()
    assert "License-Expression: Apache-2.0" in metadata
    assert [line for line in metadata if line.startswith("Requires-Dist:") and "extra ==" not in line] == ["Requires-Dist: transitions<0.10,>=0.9.3"]


def test_the_sdist_holds_what_building_and_testing_need(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "LICENSE", "Makefile", "tests/conftest.py", "tests/delivering.py"} <= names
    assert {f"{folder}/{package}/__init__.py" for folder, package in zip(("statemachines", "runtime"), PACKAGES, strict=True)} <= names
    assert not {name for name in names if "__pycache__" in name or name.startswith((".venv", "dist", ".git/"))}


@pytest.mark.parametrize("package", PACKAGES)
def test_an_installed_package_works_outside_the_checkout(installed: Path, tmp_path: Path, package: str) -> None:
    code = f"import {package} as p; [getattr(p, name) for name in p.__all__]; assert p.__all__; print(p.__file__)"
    where = Path(run(installed / "python", "-W", "error", "-c", code, cwd=tmp_path).strip())
    assert where.is_relative_to(installed.parent)
    assert (where.parent / "py.typed").is_file()


@pytest.mark.parametrize("command", [["danube-dispatcher"], ["python", "-m", "danube_dispatcher"]], ids=" ".join)
def test_the_command_is_there_in_both_ways(installed: Path, tmp_path: Path, command: list[str]) -> None:
    told = run(installed / command[0], *command[1:], "--help", cwd=tmp_path)
    for word in ("danube-dispatcher", "demo", "publish", "consume", "status", "release", "verify"):
        assert word in told
