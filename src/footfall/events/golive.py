"""The acceptance table: which cases of an integration a platform's test events have shown to work, and what the others lack.

Each case is a type of event and a few needs, every need a small predicate with the words for its absence. A case is green with
the first event that satisfied it. A red case says in plain words what is missing: that nothing of its type has come, or what the
events that came were short of. `identity_across_login` alone looks at two events: one browser or device before and after sign-in.

The table never judges twice what the rules already refused, so it is fed accepted events. It knows nothing of storage: the caller
keeps the events and feeds them in the order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from footfall.events.quality import is_default_word
from footfall.events.schema import Event

IDENTITY_ACROSS_LOGIN: Final = "identity_across_login"
VISITORS_MAX: Final = 100_000
"""Logged-out visitors remembered while waiting for their sign-in, the latest ones; about 10 MB when full."""


class _Need(msgspec.Struct, frozen=True):
    """Something an event of the right type must hold, and how its absence is told after "a PURCHASE arrived"."""

    is_met: Callable[[Event], bool]
    absence: str


class _Case(msgspec.Struct, frozen=True):
    event_type: str
    description: str
    needs: tuple[_Need, ...] = ()


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table, encoded as `footfall golive --json` prints it.

    `event_id` and `received_at` (milliseconds) name the event that made it green as the caller knew it, None while red; `missing`
    is empty exactly when green.
    """

    case: str
    green: bool
    event_id: str | None = None
    received_at: int | None = None
    missing: tuple[str, ...] = ()


def _names_its_items(event: Event) -> bool:
    return bool(event.items) and all(item.id or item.item_group_id for item in event.items)


def _has_revenue(event: Event) -> bool:
    return event.revenue is not None and bool(event.revenue.amount) and bool(event.revenue.currency)


_ITEM_IDS = _Need(_names_its_items, "without item id")
_REFERRER = _Need(lambda event: bool(event.referrer_page_id), "without referrer_page_id")
_PAGE = _Need(lambda event: bool(event.page_id), "without page_id")
_QUERY = _Need(lambda event: bool(event.search_query), "without search_query")
_PAGE_OF_ORIGIN = _Need(lambda event: bool(event.page_id or event.referrer_page_id), "without page_id and referrer_page_id")
_REVENUE = _Need(_has_revenue, "without revenue (an amount and its currency)")

_EVENT_CASES: Final[dict[str, _Case]] = {
    "home": _Case("HOME", "Open the home page."),
    "page_view": _Case("PAGE_VIEW", "Open another page, a category for one.", (_PAGE,)),
    "item_page_view": _Case("ITEM_PAGE_VIEW", "Open an item from a list and view it.", (_ITEM_IDS,)),
    "item_page_view_with_referrer": _Case(
        "ITEM_PAGE_VIEW", "Reach an item's page from a web search or another page.", (_ITEM_IDS, _REFERRER)
    ),
    "add_to_cart": _Case("ADD_TO_CART", "Put an item into the cart.", (_ITEM_IDS,)),
    "add_to_wishlist": _Case("ADD_TO_WISHLIST", "Put an item on the wish list.", (_ITEM_IDS,)),
    "search": _Case("SEARCH", "Search from the main search box.", (_QUERY,)),
    "search_in_category": _Case("SEARCH", "Search from the box of a category page.", (_QUERY, _PAGE_OF_ORIGIN)),
    "purchase": _Case("PURCHASE", "Buy something.", (_ITEM_IDS, _REVENUE)),
    "land": _Case("LAND", "Arrive from outside, by an advertisement or a link."),
}
CASES: Final[tuple[str, ...]] = (*_EVENT_CASES, IDENTITY_ACROSS_LOGIN)
"""The names of the cases in the order of the table."""
DESCRIPTIONS: Final[dict[str, str]] = {
    **{name: case.description for name, case in _EVENT_CASES.items()},
    IDENTITY_ACROSS_LOGIN: "Browse logged out, sign in and go on, in one browser or app.",
}
"""What to do in the shop for each case, one line."""

_NO_VISITOR = "no event with device.persistent_id and without user_id yet: browse before signing in"
_NO_SIGN_IN = (
    "no event yet with a user_id and a device.persistent_id that was seen logged out: sign in and go on in the same browser"
)
_ONLY_DEFAULT_WORD = (
    "an event arrived with a default word (guest, anonymous and the like) as user_id: leave user_id empty until sign-in"
)
_NO_PERSISTENT_ID = (
    "an event arrived with user_id and without a device.persistent_id of its own: send both once the shopper has signed in"
)


def cases_of(event: Event) -> tuple[str, ...]:
    """The cases this one event satisfies, in the order of the table; never `identity_across_login`, which takes two."""
    return tuple(
        name
        for name, case in _EVENT_CASES.items()
        if case.event_type == event.event_type and all(need.is_met(event) for need in case.needs)
    )


class Acceptance:
    """The table of one platform while its events come in. Not for several threads at once; memory is bounded."""

    def __init__(self) -> None:
        self._green: dict[str, CaseResult] = {}
        self._near_misses: dict[str, set[str]] = {}
        self._visitors: dict[int, None] = {}  # hashes of persistent ids, oldest first: the values need not be kept to be compared

    def add(self, event: Event, *, event_id: str | None, received_at: int | None) -> None:
        """Takes one accepted event; the first to satisfy a case stays.

        `event_id` and `received_at` (milliseconds) are what the result will show: None where a recorded file does not say.
        """
        for name in cases_of(event):
            self._turn_green(name, event_id=event_id, received_at=received_at)
        for name, case in _EVENT_CASES.items():
            if case.event_type == event.event_type and name not in self._green:
                self._note_absences(name, case=case, event=event)
        if IDENTITY_ACROSS_LOGIN not in self._green and self._is_signed_in_visitor(event):
            self._turn_green(IDENTITY_ACROSS_LOGIN, event_id=event_id, received_at=received_at)
            self._visitors.clear()  # nobody is waited for any more

    def results(self) -> list[CaseResult]:
        """One result a case, in the order of `CASES`."""
        return [self._green.get(name) or CaseResult(case=name, green=False, missing=self._missing(name)) for name in CASES]

    def _turn_green(self, name: str, *, event_id: str | None, received_at: int | None) -> None:
        if name not in self._green:
            self._green[name] = CaseResult(case=name, green=True, event_id=event_id, received_at=received_at)
            self._near_misses.pop(name, None)

    def _note_absences(self, name: str, *, case: _Case, event: Event) -> None:
        article = "an" if case.event_type[0] in "AI" else "a"
        absences = {f"{article} {case.event_type} arrived {need.absence}" for need in case.needs if not need.is_met(event)}
        self._near_misses.setdefault(name, set()).update(absences)

    def _is_signed_in_visitor(self, event: Event) -> bool:
        """Whether this is the second half of a login; else remembers what it may be the first half of, or why it is neither."""
        persistent_id = event.device.persistent_id if event.device is not None else ""
        # An id that many share must not pass for a sign-in, nor for one visitor.
        if is_default_word(persistent_id):
            persistent_id = ""
        if event.user_id and is_default_word(event.user_id):
            self._near_misses.setdefault(IDENTITY_ACROSS_LOGIN, set()).add(_ONLY_DEFAULT_WORD)
        elif event.user_id and not persistent_id:
            self._near_misses.setdefault(IDENTITY_ACROSS_LOGIN, set()).add(_NO_PERSISTENT_ID)
        elif event.user_id:
            return hash(persistent_id) in self._visitors
        elif persistent_id:
            self._remember(hash(persistent_id))
        return False

    def _remember(self, visitor: int) -> None:
        if visitor not in self._visitors and len(self._visitors) >= VISITORS_MAX:
            del self._visitors[next(iter(self._visitors))]
        self._visitors[visitor] = None

    def _missing(self, name: str) -> tuple[str, ...]:
        near_misses = sorted(self._near_misses.get(name, ()))
        if name == IDENTITY_ACROSS_LOGIN:
            return (_NO_SIGN_IN if self._visitors else _NO_VISITOR, *near_misses)
        return tuple(near_misses) or (f"no {_EVENT_CASES[name].event_type} event yet",)
