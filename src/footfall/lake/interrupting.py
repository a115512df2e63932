"""Long calls of DuckDB that Ctrl-C ends.

Python hears a signal only when its main thread comes back from C++, and DuckDB looks for signals in some of its loops, not in
all: on a busy machine one query in four went on. So the call runs in a thread of its own, and the main thread waits where it can
hear.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, ParamSpec, TypeVar

from footfall.lake.engine import Connection

_AGAIN_S: Final = 0.05
"""An interruption that comes before the query begins is forgotten by DuckDB: it is told until it listens."""

_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")


def interruptible(
    connection: Connection, call: Callable[_Arguments, _Result], *arguments: _Arguments.args, **options: _Arguments.kwargs
) -> _Result:
    """What `call` returns or raises. On KeyboardInterrupt the statement that runs on `connection` is ended first."""
    future: Future[_Result] = Future()

    def work() -> None:
        try:
            future.set_result(call(*arguments, **options))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            future.set_exception(error)

    worker = threading.Thread(target=work, name="query", daemon=True)
    worker.start()
    try:
        return future.result()
    finally:
        while worker.is_alive():
            if not future.done():
                connection.interrupt()
            worker.join(_AGAIN_S)
