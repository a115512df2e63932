"""The fault switch: what goes wrong on purpose, how often, and until when."""

from __future__ import annotations

import enum
import threading
from collections import deque
from typing import Final, Literal, get_args

import msgspec

from footfall.client.testing import answers
from footfall.delivery.transport import Response
from footfall.events.schema import Identifier

FaultName = Literal["reset", "hang", "html", "lost_answer"]
"""`reset`: the connection is cut before an answer. `hang`: no answer, ever. `html`: a proxy answers with a page of its own.
`lost_answer`: the event is taken in, and then the connection is cut."""

_NAMES: Final = get_args(FaultName)
_HTML_STATUS: Final = 502


class Broken(enum.Enum):
    """How an exchange ends that gets no answer."""

    REFUSED = "refused"
    RESET = "reset"
    HANG = "hang"


class Fault(msgspec.Struct, kw_only=True):
    """One kind of failure. `left` counts the requests it still meets, None without end."""

    end: Response | Broken
    takes_events: bool = False
    """Whether events get in all the same."""
    left: int | None


class _Throttle(msgspec.Struct, kw_only=True):
    identifier: str | None
    wait_s: float
    left: int | None


class FaultSwitch:
    """The faults of one receiver. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: deque[Fault] = deque()
        self._throttles: list[_Throttle] = []
        self.is_down = False

    def fail(self, fault: Fault) -> None:
        """Faults with a number of times follow one another; one without end is replaced by what is said next."""
        with self._lock:
            if self._faults and self._faults[-1].left is None:
                self._faults.pop()
            self._faults.append(fault)

    def throttle(self, *, identifier: str | None, wait_s: float, times: int | None) -> None:
        with self._lock:
            self._throttles.append(_Throttle(identifier=identifier, wait_s=wait_s, left=_checked_times(times)))

    def recover(self) -> None:
        with self._lock:
            self._faults.clear()
            self._throttles.clear()

    def next_fault(self) -> Fault | None:
        """The fault that meets the request at hand."""
        with self._lock:
            if not self._faults:
                return None
            fault = self._faults[0]
            if fault.left is not None:
                fault.left -= 1
                if fault.left == 0:
                    self._faults.popleft()
            return fault

    def next_wait_s(self, identifier: Identifier | None) -> float:
        """How long the sender of this event has to wait; 0 where no throttle meets it."""
        value = identifier.value if identifier is not None else None
        with self._lock:
            for throttle in self._throttles:
                if throttle.identifier is not None and throttle.identifier != value:
                    continue
                if throttle.left is not None:
                    throttle.left -= 1
                    if throttle.left == 0:
                        self._throttles.remove(throttle)
                return throttle.wait_s
        return 0.0


def fault_of(name: int | FaultName | None, *, status: int | None, times: int | None, retry_after_s: float | None) -> Fault:
    """What `Receiver.fail` was told. ValueError where it makes no sense."""
    if isinstance(name, int):
        name, status = None, name
    left = _checked_times(times)
    if status is not None and not 300 <= status <= 599:
        raise ValueError("a fault answers with a status from 300 to 599")
    if name == "reset":
        return Fault(end=Broken.RESET, left=left)
    if name == "hang":
        return Fault(end=Broken.HANG, left=left)
    if name == "lost_answer":
        return Fault(end=Broken.RESET, takes_events=True, left=left)
    if name == "html":
        return Fault(end=answers.html(status or _HTML_STATUS), left=left)
    if name is not None or status is None:
        raise ValueError(f"a fault is a status such as 503, or one of {', '.join(_NAMES)}")
    return Fault(end=answers.failed(status, retry_after_s=retry_after_s), left=left)


def _checked_times(times: int | None) -> int | None:
    if times is not None and times < 1:
        raise ValueError("times is at least 1, or None for until recover()")
    return times
