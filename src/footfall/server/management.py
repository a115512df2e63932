"""The management route: a shop asks for its shoppers' events to be erased.

    POST /rmp/mgmt/v1/platforms/{platform_id}/data-deletion-requests/user-events
    {"identifiers": [{"user_id": "…"}, …]}            at most 1,000; other members are ignored

200 means that the requests are on stable storage in the registry, all of them; the erasing itself is the lander's. Anything else
means that none is known to be, and the same may be sent again. All database work, and the reading of a body that may be large, is
done in one thread beside the event loop, and only so many requests wait for it.

Nothing here says or logs an identifier: not in an answer, and what the registry keeps is a keyed hash.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from footfall.clock import Clock
from footfall.errors import InvalidEventError, RegistryError, RegistryRefusedError, Violation
from footfall.events.decode import kind_of
from footfall.events.identity import is_absent
from footfall.events.malformed import diagnose
from footfall.events.schema import IDENTIFIER_CHARS_MAX
from footfall.registry.store import Registry
from footfall.server import answers
from footfall.server.answers import Refusal

logger = logging.getLogger("footfall.server")

IDENTIFIERS_MAX: Final = 1_000
BODY_BYTES_MAX: Final = 2 * 1024 * 1024
"""A thousand identifiers of 128 characters, each character as two escapes of six bytes, are 1.5 MB."""
INPUT_VALIDATION: Final = "INPUT_VALIDATION"
"""Of the published categories the one for what a sender can mend."""
_WAITING_MAX: Final = 8
"""Requests that wait for the thread, or are in it: a registry that is busy may hold up each for 5 s."""
_VIOLATIONS_MAX: Final = 100
_SAMPLE: Final = '{"identifiers": [{"user_id": "…"}]}'

REASONS: Final = {
    "missing_identifiers": "The request has no `identifiers`, or null.",
    "too_many_identifiers": f"More than {IDENTIFIERS_MAX:,} in one request.",
    "missing_user_id": "An element of `identifiers` has no `user_id`, or one that names nobody.",
}
"""Reasons of this route beside those of an event → one line of documentation."""
_MESSAGES: Final = {
    "body_not_an_object": "proto: the body must be one JSON object",
    "duplicate_field": "proto: duplicate field {field}",
    "empty_body": "proto: the body is empty",
    "identifier_too_long": f"user_id is longer than {IDENTIFIER_CHARS_MAX} characters",
    "missing_identifiers": "missing identifiers",
    "missing_user_id": "missing user_id",
    "too_many_identifiers": "too many identifiers",
}


class _Body(msgspec.Struct):
    """Members that are not named here are skipped without being built."""

    identifiers: Any = None


_decode: Final = msgspec.json.Decoder(_Body).decode


class Management:
    """Takes the erasure requests of one worker."""

    def __init__(self, registry: Registry, *, clock: Clock, waiting_max: int = _WAITING_MAX) -> None:
        self._registry = registry
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="footfall-manage")
        self._waiting_max = waiting_max
        self._waiting = 0

    async def erase(self, body: bytes, *, platform: str, key_id: str) -> Refusal | None:
        """Records what `body` asks for; None when it is on stable storage, otherwise why it is not known to be."""
        if self._waiting >= self._waiting_max:
            return answers.MANAGEMENT_BUSY
        self._waiting += 1
        try:
            asked = await asyncio.get_running_loop().run_in_executor(self._thread, self._record, body, platform)
        except InvalidEventError as error:
            return classified(answers.invalid(error))
        except RegistryRefusedError:  # the registry was replaced by one without this platform id
            return answers.unknown_platform(platform)
        except RegistryError as error:
            logger.warning("a request for erasure was not recorded: %s", error.message)
            return answers.ERASURE_NOT_RECORDED
        finally:
            self._waiting -= 1
        # what was asked of stored data is worth a line each time; who was meant, never
        logger.info("erasure of %d people asked for, platform %s, by %s", asked, platform, key_id)
        return None

    def _record(self, body: bytes, platform: str) -> int:
        """Blocks. Returns how many different people it was."""
        user_ids = set(read_user_ids(body))
        if user_ids:
            self._registry.request_erasures(platform, "user_id", sorted(user_ids), now_ms=self._clock.now_ms())
        return len(user_ids)


def classified(refusal: Refusal) -> Refusal:
    """As the published document of this route wants it: whatever is in `details` carries a category."""
    return msgspec.structs.replace(refusal, category=INPUT_VALIDATION)


def read_user_ids(body: bytes) -> list[str]:
    """The user ids that a body names, exactly as they stand there. Raises `InvalidEventError` with every problem and no value."""
    if not body.strip():
        raise _refusal(Violation("", f"the body is empty; send {_SAMPLE}", "empty_body"))
    try:
        identifiers = _decode(body).identifiers
    except msgspec.ValidationError:
        raise _refusal(Violation("", f"send {_SAMPLE}", "body_not_an_object")) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise diagnose(body, error) from None  # the cause may quote the body
    if identifiers is None:
        raise _refusal(Violation("identifiers", f"a list of people is required; send {_SAMPLE}", "missing_identifiers"))
    if type(identifiers) is not list:
        raise _refusal(Violation("identifiers", f"{kind_of(identifiers)} came; send an array", "not_an_array"))
    if len(identifiers) > IDENTIFIERS_MAX:
        description = f"{len(identifiers)} came, at most {IDENTIFIERS_MAX} are taken at once; send them in several requests"
        raise _refusal(Violation("identifiers", description, "too_many_identifiers"))
    found = [_violation(index, identifier) for index, identifier in enumerate(identifiers)]
    violations = [violation for violation in found if violation is not None]
    if violations:
        raise _refusal(*violations)
    return [identifier.get("user_id") or identifier["userId"] for identifier in identifiers]


def _violation(index: int, identifier: object) -> Violation | None:
    """What is wrong with one element of the list."""
    path = f"identifiers[{index}]"
    if identifier is None:
        return Violation(path, "null came; leave the element out instead", "null_in_array")
    if not isinstance(identifier, dict):
        return Violation(path, f'{kind_of(identifier)} came; send an object such as {{"user_id": "…"}}', "not_an_object")
    user_id, spelt_otherwise = identifier.get("user_id"), identifier.get("userId")
    path = f"{path}.user_id"
    if user_id is not None and spelt_otherwise is not None:
        return Violation(path, "the member came twice, also spelt userId; send one of the two spellings", "duplicate_field")
    user_id = user_id if user_id is not None else spelt_otherwise
    if user_id is None:
        return Violation(path, "only a person's user_id can be named here; send it", "missing_user_id")
    if type(user_id) is not str:
        return Violation(path, f"{kind_of(user_id)} came; send the user_id as a string, as in its events", "not_a_string")
    if is_absent(user_id):
        return Violation(path, "this text names nobody, and no event is stored under it", "missing_user_id")
    if len(user_id) > IDENTIFIER_CHARS_MAX:
        description = f"{len(user_id)} characters came; no event with more than {IDENTIFIER_CHARS_MAX} was ever stored"
        return Violation(path, description, "identifier_too_long")
    return None


def _refusal(first: Violation, *others: Violation) -> InvalidEventError:
    message = _MESSAGES.get(first.reason, "proto: invalid value for {field}").format(field=first.field)
    violations = (first, *others)
    if len(violations) > _VIOLATIONS_MAX:
        rest = Violation("", f"{len(violations) - _VIOLATIONS_MAX} more problems are not listed", "more_violations")
        violations = (*violations[:_VIOLATIONS_MAX], rest)
    return InvalidEventError(message, violations)
