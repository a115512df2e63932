"""What `import footfall` promises, and what it costs."""

from __future__ import annotations

import importlib.metadata
import inspect
import subprocess
import sys

import pytest

import footfall


def run(program: str) -> str:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return ended.stdout.strip()


def test_the_exported_names_are_these_and_no_others() -> None:
    assert footfall.__all__ == [
        "AddToCart", "AddToWishlist", "Answer", "ApiError", "AsyncClient", "BadRequestError", "Client", "Device", "Event",
        "FootfallError", "FootfallWarning", "ForbiddenError", "Home", "InternalServerError", "Item", "ItemPageView", "Land",
        "MethodNotAllowedError", "Money", "NetworkError", "NotFoundError", "Outbox", "PageView", "Purchase", "QualityWarning",
        "RejectedError", "Report", "Search", "Stats", "TooManyRequestsError", "UnauthorizedError", "Violation", "__version__",
        "hash_identifier",
    ]  # fmt: skip
    assert footfall.__all__ == sorted(footfall.__all__)
    assert set(footfall.__all__) <= set(dir(footfall))


@pytest.mark.parametrize("name", [name for name in footfall.__all__ if name != "__version__"])
def test_each_exported_name_is_there_and_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(footfall, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Cleint"):
        _ = footfall.Cleint


def test_the_version_is_the_one_that_is_installed() -> None:
    assert footfall.__version__ == importlib.metadata.version("footfall")


def test_a_bare_import_loads_nothing_heavy() -> None:
    heavy = "aiohttp asyncio granian sqlalchemy typer rich http ssl msgspec ua_parser"
    assert run(f"import sys, footfall; print([m for m in '{heavy}'.split() if m in sys.modules])") == "[]"


def test_the_client_loads_none_of_the_server_side_and_no_http_library() -> None:
    heavy = "aiohttp asyncio granian sqlalchemy typer rich"
    program = f"import sys, footfall; footfall.Client; print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert run(program) == "[]"


def test_importing_takes_a_tenth_of_a_second_at_most() -> None:
    """The best of five, since a busy machine is not slow code; the bound is five times the goal for the same reason."""
    program = "import time; t = time.perf_counter(); import footfall; footfall.Client; print(time.perf_counter() - t)"
    assert min(float(run(program)) for _ in range(5)) < 0.5
