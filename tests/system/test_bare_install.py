"""A shop installs `footfall` alone: it imports, sends and tests with nothing but the two packages it depends on, and quickly."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from importlib.metadata import requires
from pathlib import Path

import pytest

SERVER_SIDE = ("granian", "sqlalchemy", "typer", "rich", "prometheus_client", "zstandard", "uvloop", "duckdb", "deltalake")
WITH_DEPENDENCIES = ("footfall", "msgspec", "ua_parser", "ua_parser_builtins")
IMPORT_MS_MAX = 100
"""Of design section 11, for a process that has started."""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install footfall` puts on the path, and nothing else."""
    site = tmp_path_factory.mktemp("bare")
    for name in WITH_DEPENDENCIES:
        found = importlib.util.find_spec(name)
        assert found is not None and found.submodule_search_locations
        (site / name).symlink_to(found.submodule_search_locations[0], target_is_directory=True)
    return site


def run_bare(site: Path, program: str) -> str:
    program = f"import sys; sys.path.append({str(site)!r})\n{program}"
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_bare_install_has_two_dependencies() -> None:
    bare = [line.split(">")[0] for line in requires("footfall") or () if "extra ==" not in line]
    assert sorted(bare) == ["msgspec", "ua-parser"]


def test_every_public_name_works_in_a_bare_environment(bare: Path) -> None:
    program = (
        "import footfall, footfall.testing, footfall.client.web, footfall.client.web.asgi\n"
        "for name in footfall.__all__: getattr(footfall, name)\n"
        f"print([name for name in {SERVER_SIDE!r} if name in sys.modules])\n"
        "print(footfall.__file__)"
    )
    loaded, where = run_bare(bare, program).splitlines()
    assert loaded == "[]"
    assert where.startswith(str(bare))


def test_the_command_without_the_server_extra_says_what_to_install(bare: Path) -> None:
    program = f"sys.path.insert(0, {str(bare)!r}); from footfall.cli import main; sys.argv = ['footfall']; main()"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys\n{program}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert "pip install" in ended.stderr and "footfall[server]" in ended.stderr


def test_importing_takes_less_than_a_tenth_of_a_second(bare: Path) -> None:
    program = (
        "import time; t = time.perf_counter(); import footfall; footfall.Client; footfall.Outbox; print(time.perf_counter() - t)"
    )
    run_bare(bare, program)  # compiled now, if it was not
    deadline_s = time.monotonic() + 30
    took_ms = 1000 * min(float(run_bare(bare, program)) for _ in range(5))
    while took_ms > IMPORT_MS_MAX and time.monotonic() < deadline_s:  # a busy machine is no slow import
        took_ms = min(took_ms, 1000 * float(run_bare(bare, program)))
    assert took_ms <= IMPORT_MS_MAX
