"""The person behind the request at hand, as a handler sees them: `shopper().track(event_type="HOME")`.

What a handler does not say is filled in: who, with what, from where. What it does say stands as it is. Three rules:

* Nothing here raises into a request, and nothing waits. What goes wrong is logged, once for each kind, without any value.
* The id is made when the first event needs it, so that pages which track nothing set no cookie and stay cacheable. Once the
  answer has begun a cookie cannot be set: an event of somebody without an id then carries a `custom_id` for this one request,
  since an id that no browser keeps would be a person who never comes back. A browser that asks for several pages at once on
  its first visit gets an id from each, and keeps the one that came last.
* An event under ID_LESS carries no identifier and no address, whoever gave them: the service drops them, so they need not travel.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, Protocol, Unpack
from uuid import UUID

import msgspec

from footfall.client.calls import warm_user_agents
from footfall.client.constructors import Members
from footfall.client.hashing import hash_identifier
from footfall.client.web.settings import Settings, checked
from footfall.client.web.visit import WANTED_HINTS, Arrival, Cookie, Visit, cookie_of, is_secure, new_id, visit_of
from footfall.events.identity import ID_LESS
from footfall.events.schema import Device

_log = logging.getLogger("footfall.web")
_COMPLAINTS_MAX: Final = 256
_IDENTIFYING: Final = ("user_id", "custom_id", "session_id", "extra")
"""Members that ID_LESS forbids; `extra` since nobody knows what is in it."""
_IDENTIFYING_IN_DEVICE: Final = {"persistent_id": "", "unique_device_id": "", "advertising_id": "", "ip": ""}
_IDENTIFYING_NAMES: Final = frozenset({*_IDENTIFYING_IN_DEVICE, "persistentId", "uniqueDeviceId", "advertisingId"})


class Target(Protocol):
    """Where events go: an `Outbox`, or a stand-in of a test. From any thread; must neither raise nor wait for the network."""

    def track(self, **fields: Unpack[Members]) -> str:
        """Takes an event and returns its id, `""` when it could not be kept."""
        ...


class Entrance:
    """What all requests of one application share: where events go, what was decided, and what was complained about."""

    def __init__(self, target: Target, settings: Settings) -> None:
        self.target = target
        self.settings = settings
        self._told: set[tuple[str, str]] = set()

    def tell_once(self, doing: str, error: Exception) -> None:
        """Logs that `doing` failed, once for each place: the type of the error and where; not its text, which may hold people."""
        step = error.__traceback__
        while step is not None and step.tb_next is not None:
            step = step.tb_next
        place = f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno}" if step is not None else "?"
        what = f"{type(error).__name__} at {place}"
        if (doing, what) not in self._told and len(self._told) < _COMPLAINTS_MAX:
            self._told.add((doing, what))
            _log.error("%s failed with %s; the request goes on, and this is said once", doing, what)


def entrance(target: Target, options: Mapping[str, Any]) -> Entrance:
    """For adapters, when the application starts. SettingsError for options that make no sense."""
    if not callable(getattr(target, "track", None)):
        raise TypeError(f"events go to an Outbox, or to whatever has its track(**fields), not to {type(target).__name__}")
    settings = checked(options)
    warm_user_agents()
    return Entrance(target, settings)


class Shopper:
    """One person during one request. May be kept, used in other threads, and after the answer."""

    __slots__ = ("_arrival", "_device", "_entrance", "_has_begun", "_id", "_is_allowed", "_lock", "_request", "_user", "_visit")

    def __init__(self, entrance: Entrance, *, arrival: Arrival, request: Any) -> None:
        self._entrance = entrance
        self._arrival = arrival
        self._request = request
        self._lock = threading.Lock()  # handlers may track from several threads, and one person gets one id
        self._visit: Visit | None = None
        self._device: Device | None = None
        self._id = ""  # plain; made here where the browser brought none
        self._has_begun = False
        self._is_allowed: bool | None = None  # what `consent` said last; None while it has not been asked, or failed
        self._user = ""

    def track(self, **fields: Unpack[Members]) -> str:
        """Tracks an event of this person: `track(event_type="SEARCH", search_query="boots")`.

        `channel_type`, `device` and `user_id` are filled in where they are not given; `personalization_mode` is ID_LESS where
        there is no consent. Returns the event's id, `""` when it could not be kept. Never raises, never waits.
        """
        members: Any = dict(fields)
        try:
            self._complete(members)
        except Exception as error:  # noqa: BLE001 - a shop's page must not fail for the sake of an event
            self._entrance.tell_once("filling in an event", error)
        try:
            return self._entrance.target.track(**members)
        except Exception as error:  # noqa: BLE001 - as above; an Outbox does not raise, a stand-in may
            self._entrance.tell_once("tracking an event", error)
            return ""

    @property
    def persistent_id(self) -> str:
        """The id of this browser as events carry it, hashed where there is a key; `""` where there is none. For ad decisions,
        which must name the same person as events. Asking before the answer begins makes an id where there is none."""
        try:
            return self._known_device().persistent_id if self._may_recognise() else ""
        except Exception as error:  # noqa: BLE001 - as in `track`
            self._entrance.tell_once("making an id", error)
            return ""

    @property
    def user_id(self) -> str:
        """Who is signed in, as events carry it; `""` for nobody, and without consent."""
        return self._user_id() if self._may_recognise() else ""

    def cookie(self) -> Cookie | None:
        """For adapters, when the head of the answer is written: the cookie to set or to delete. From then on none can be set."""
        with self._lock:
            self._has_begun = True
        visit, settings = self._visit, self._entrance.settings
        if visit is None or not settings.persistent_id:
            return None
        if self._is_allowed is False:
            return cookie_of("", visit, settings) if visit.has_cookie else None
        is_new = self._id and self._id != visit.known_id
        return cookie_of(self._id, visit, settings) if is_new else None

    def hints(self, content_type: str) -> str:
        """For adapters, with `cookie`: what to ask of the browser by `Accept-CH`, `""` for nothing. Browsers heed it in pages
        that came by https."""
        settings = self._entrance.settings
        if not settings.client_hints or not content_type.lower().startswith("text/html"):
            return ""
        return WANTED_HINTS if is_secure(self._arrival, settings) else ""

    def headers(self, content_type: str) -> list[tuple[str, str]]:
        """For adapters: `cookie` and `hints` as headers to add to those of the answer."""
        added = []
        if cookie := self.cookie():
            # An answer made for one browser: with `Vary` no cache hands it, and the id, to another.
            added = [("Set-Cookie", cookie.header), ("Vary", "Cookie")]
        if hints := self.hints(content_type):
            added.append(("Accept-CH", hints))
        return added

    def __repr__(self) -> str:
        return "Shopper(…)"

    def _complete(self, members: dict[str, Any]) -> None:
        """Fills in what the handler did not say, and takes out what ID_LESS forbids."""
        if not members.get("channel_type"):
            members["channel_type"] = self._entrance.settings.channel_type
        if members.get("personalization_mode") != ID_LESS and not self._may_recognise():
            members["personalization_mode"] = ID_LESS
        if members.get("personalization_mode") == ID_LESS:
            members["device"] = members.get("device") or self._seen().device
            _strip(members)
            return
        if not members.get("user_id") and (user := self._user_id()):
            members["user_id"] = user
        if not members.get("device"):
            members["device"] = device = self._known_device()
            if not (device.persistent_id or members.get("user_id") or members.get("custom_id")):
                members.update(self._passing())

    def _seen(self) -> Visit:
        if self._visit is None:
            self._visit = visit_of(self._arrival, self._entrance.settings)
        return self._visit

    def _known_device(self) -> Device:
        """The device with the id that this browser has, or gets while a cookie can still be set."""
        if self._device is not None:
            return self._device
        visit = self._seen()
        with self._lock:
            if not self._id:
                self._id = visit.known_id
            if not self._id and not self._has_begun and self._entrance.settings.persistent_id:
                self._id = new_id()
            known = self._id
        self._device = msgspec.structs.replace(visit.device, persistent_id=self._hashed(known))
        return self._device

    def _passing(self) -> dict[str, str]:
        """A random id for somebody who cannot be given a cookie any more: the service allows that in `custom_id` alone."""
        if not self._entrance.settings.persistent_id:
            return {}
        with self._lock:
            if not self._id:
                self._id = new_id()
        return {"custom_id": self._hashed(self._id)}

    def _user_id(self) -> str:
        """What `user` says now; what it said last where it cannot say any more, as after the answer."""
        user = self._entrance.settings.user
        if user is None:
            return ""
        try:
            self._user = self._hashed(_named(user(self._request)))
        except Exception as error:  # noqa: BLE001 - the shop's own function, and no reason to lose the event
            self._entrance.tell_once("asking who is signed in", error)
        return self._user

    def _may_recognise(self) -> bool:
        """What `consent` says now; what it said last where it cannot say any more. No answer at all is a no."""
        consent = self._entrance.settings.consent
        if consent is None:
            return True
        try:
            self._is_allowed = _said(consent(self._request))
        except Exception as error:  # noqa: BLE001 - as in `_user_id`
            self._entrance.tell_once("asking for consent", error)
        return self._is_allowed is True

    def _hashed(self, value: str) -> str:
        key = self._entrance.settings.hash_key
        return hash_identifier(value, key) if key and value else value


def _named(user: object) -> str:
    if user is None or user is False:
        return ""
    if isinstance(user, (str, int, UUID)):
        return str(user)
    raise TypeError("user is answered by text, a number, a UUID or None")


def _said(consent: object) -> bool:
    if isinstance(consent, bool):
        return consent
    raise TypeError("consent is answered by True or False")  # the text "no" is true as well, and so is a coroutine


def _strip(members: dict[str, Any]) -> None:
    for name in _IDENTIFYING:
        members.pop(name, None)
    device = members["device"]
    if isinstance(device, Device):
        members["device"] = msgspec.structs.replace(device, **_IDENTIFYING_IN_DEVICE)
    elif isinstance(device, Mapping):
        members["device"] = {name: value for name, value in device.items() if name not in _IDENTIFYING_NAMES}


class _Nowhere:
    """Takes the events of nobody, and says so."""

    def __init__(self) -> None:
        self._is_told = False

    def track(self, **fields: Unpack[Members]) -> str:
        if not self._is_told:
            self._is_told = True
            _log.error("shopper() was asked outside a request, or Footfall's middleware is missing: such events go nowhere")
        return ""


_NOBODY: Final = Shopper(
    Entrance(_Nowhere(), Settings(persistent_id=False)),
    arrival=Arrival(header=lambda _name: "", peer="", is_secure=False),
    request=None,
)

current: Final[ContextVar[Shopper]] = ContextVar("footfall_shopper", default=_NOBODY)
"""For adapters: whose request is being handled."""


def shopper() -> Shopper:
    """The person whose request is being handled: in the handler, in what it awaits, in threads that the framework starts for it,
    and in tasks that outlive the answer. A thread of your own does not inherit it: take `person = shopper()` there first.

    Outside any request it is nobody: `track` then returns `""` and logs an error, once.
    """
    return current.get()
