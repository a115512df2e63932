"""What a user agent, or the headers around it, tell about a device.

The agent string of today says less than it seems to: browsers freeze parts of it, so that every recent Chrome on Android names
the model `K` on Android 10, every Windows is 10.0 and every Mac runs 10.15.7. A frozen value is the same for everybody and worse
than none: it is left out here rather than sent. Client hints, where a browser sent them, say the true thing and come first.

`device.os` is named as client hints name it (iOS, Android, Windows, macOS, Linux, Chrome OS). An iPad is iOS: the protocol looks
for `ios` in the name, and `iPadOS` does not contain it. An iPad whose Safari asks for desktop pages calls itself a Mac, and
nothing in its headers says otherwise.

The matching is ua-parser's, imported at the first parse: its tables cost tens of milliseconds, which `warm` takes ahead of the
first shopper. ua-parser itself chooses the Rust matcher where `ua-parser-rs` is installed (our extra `fast`), re2 next, and
its own regular expressions otherwise. No function here raises on a strange agent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from ua_parser import OS, PartialResult, Resolver

AGENT_CHARS_MAX: Final = 512
"""Only this much of an agent is matched. Real ones end well before, and what names the device stands first; hostile ones, built
to send the pure-Python expressions back and forth, took 6 ms at this length and 21 ms at four times it."""
AGENTS_CACHED: Final = 2048
"""Distinct agents remembered, at about 1 kB each. A shop sees a few hundred a day."""
HINT_CHARS_MAX: Final = 128

_FAMILY_NAMES: Final = {"Mac OS X": "macOS", "Mac OS": "macOS", "ATV OS X": "tvOS", "WatchOS": "watchOS"}
_LINUX_FAMILIES: Final = frozenset(
    {
        "Arch Linux", "CentOS", "Debian", "Fedora", "Gentoo", "Kubuntu", "Linux Mint", "Mageia", "Mandriva", "PCLinuxOS",
        "Puppy", "Red Hat", "Slackware", "SUSE", "Ubuntu", "openSUSE",
    }
)  # fmt: skip
_HINTED_PLATFORMS: Final = {
    "Android": "Android",
    "Chrome OS": "Chrome OS",
    "Chromium OS": "Chrome OS",
    "iOS": "iOS",
    "Linux": "Linux",
    "macOS": "macOS",
    "Windows": "Windows",
}
_PLACEHOLDER_MODELS: Final = frozenset({"K", "Browser", "Desktop", "Feature Phone", "Smartphone", "Tablet", "iOS-Device"})
"""`K` is Chrome's; the others are what ua-parser says when it has seen no model."""
_FROZEN_CHROME_OS: Final = "14541.0.0"
_WINDOWS_BEFORE_10: Final = {"0.1": "7", "0.2": "8", "0.3": "8.1"}
_RENAMED_LANGUAGES: Final = {"iw": "he", "in": "id", "ji": "yi", "fil": "tl"}
"""Java and Android long sent the withdrawn codes; Filipino has no two letters of its own, Tagalog has."""

_QUOTED_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"').match  # RFC 9651, section 3.3.3; parameters after it are ignored
_BARE_STRING = re.compile(r'[^"\\\x00-\x1f\x7f-\U0010ffff]*').fullmatch
_SAFARI_MAJOR = re.compile(r"Version/(\d{1,4})\.").search


class UserAgent(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; `""` for whatever is unknown or frozen. `ua` is the agent as it came, whole."""

    ua: str = ""
    os: str = ""
    os_version: str = ""
    model: str = ""
    language: str = ""


def parse(ua: str) -> UserAgent:
    """The device an agent string tells of; `language` stays empty. Under a microsecond when the agent was seen lately,
    about 0.2 ms in pure Python otherwise, 12 µs in Rust."""
    os, os_version, model = _device_of(ua[:AGENT_CHARS_MAX])
    return UserAgent(ua=ua, os=os, os_version=os_version, model=model)


def parse_headers(headers: Mapping[str, str]) -> UserAgent:
    """The device a request's headers tell of, names in any case: client hints first, then the agent.

    The agent completes the hints only where both name the same operating system. `language` is the first choice of
    `Accept-Language` as two letters, empty where the choice has no such code.
    """
    wanted = _wanted_headers(headers)
    ua = wanted.get("user-agent", "")
    os, os_version, model = _device_of(ua[:AGENT_CHARS_MAX])
    hinted_os = _HINTED_PLATFORMS.get(_hint(wanted.get("sec-ch-ua-platform", "")), "")
    if hinted_os and hinted_os != os:
        os, os_version, model = hinted_os, "", ""
    os_version = _hinted_version(wanted.get("sec-ch-ua-platform-version", ""), os) or os_version
    model = _true_model(_hint(wanted.get("sec-ch-ua-model", ""))) or model
    language = first_language(wanted.get("accept-language", ""))
    return UserAgent(ua=ua, os=os, os_version=os_version, model=model, language=language)


def warm() -> None:
    """Takes the cost of the first parse now. Idempotent; may run in any thread."""
    _match("-")  # matches nothing, so every expression is tried, and those compiled on demand are compiled


def first_language(accept_language: str) -> str:
    """The most wanted language of an `Accept-Language` header as an ISO 639-1 code: `ko-KR,ko;q=0.9,en;q=0.8` → `ko`."""
    best, best_weight = "", 0.0
    for choice in accept_language[: HINT_CHARS_MAX * 4].split(","):
        tag, _, parameters = choice.partition(";")
        weight = _weight(parameters)
        if weight > best_weight:  # of equals the first stands
            best, best_weight = tag, weight
    primary = best.strip().partition("-")[0].partition("_")[0].lower()
    code = _RENAMED_LANGUAGES.get(primary, primary)
    return code if len(code) == 2 and code.isascii() and code.isalpha() else ""


@lru_cache(maxsize=1)
def _resolver() -> Resolver:
    """ua-parser's best matcher over the operating system and device tables; the browser's name is nobody's business here.

    The tables compile on demand: in pure Python `warm` takes 90 ms, where compiling all tables at once made it 125 ms.
    """
    import ua_parser

    _browsers, systems, devices = ua_parser.load_lazy_builtins()
    return ua_parser.BestAvailableResolver(([], systems, devices))


def _match(agent: str) -> PartialResult:
    from ua_parser import Domain

    return _resolver()(agent, Domain.OS | Domain.DEVICE)


@lru_cache(maxsize=AGENTS_CACHED)
def _device_of(agent: str) -> tuple[str, str, str]:
    """`(os, os_version, model)` of an agent already cut to length; the length bounds the cache in bytes too."""
    if not agent:
        return "", "", ""
    readable = agent.encode("utf-8", "replace").decode("utf-8")  # lone surrogates make the Rust matcher raise
    found = _match(readable)
    device = found.device
    model = _true_model(device.model or "") if device and device.brand != "Spider" else ""
    if found.os is None:
        return "", "", model
    os = _FAMILY_NAMES.get(found.os.family, found.os.family)
    if os in _LINUX_FAMILIES:
        return "Linux", "", model  # 22.04 is a version of Ubuntu, not of Linux
    return os, _true_version(found.os, os=os, agent=readable, model=model), model


def _true_version(found: OS, *, os: str, agent: str, model: str) -> str:
    version = ".".join(part for part in (found.major, found.minor, found.patch) if part)
    if os == "Android" and version == "10" and not model:
        return ""  # Chrome and its kin say 10 wherever they say K, Firefox wherever it names no model
    if os == "Windows" and version == "10":
        return ""  # Windows 11 says 10.0 too
    if os == "macOS" and (version == "10.15" or version.startswith("10.15.")):
        return ""  # frozen at 10_15_7 by Chrome and Safari, at 10.15 by Firefox
    if os == "Chrome OS" and version == _FROZEN_CHROME_OS:
        return ""
    if os == "iOS" and version.startswith("18.") and _is_safari_26(agent):
        return ""  # since its version 26 Safari says 18.6 or 18.7 on every iOS
    return version


def _is_safari_26(agent: str) -> bool:
    named = _SAFARI_MAJOR(agent)
    return named is not None and int(named[1]) >= 26


def _true_model(model: str) -> str:
    return "" if model in _PLACEHOLDER_MODELS else model


def _wanted_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The few headers read here, under lower-case names; of two that differ in case the first stands."""
    wanted: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith(("sec-ch-ua-", "user-agent", "accept-language")):
            wanted.setdefault(lower, value)
    return wanted


def _hint(header: str) -> str:
    """The text of a structured-header string, `"Pixel 8"`; a bare one is taken too, for proxies that lose the quotes."""
    text = header.strip()
    if len(text) > HINT_CHARS_MAX:
        return ""
    quoted = _QUOTED_STRING(text)
    if quoted:
        return re.sub(r"\\(.)", r"\1", quoted[1]).strip()
    return text if _BARE_STRING(text) else ""


def _hinted_version(header: str, os: str) -> str:
    version = _hint(header)
    if not version or not all(part.isdigit() for part in version.split(".")):
        return ""
    if os == "Windows":
        return _windows_version(version)
    return re.sub(r"(?:\.0+)+$", "", version)  # 14.0.0 is the 14 of the agent


def _windows_version(version: str) -> str:
    """Windows counts on in its hint: 1 to 12 are builds of Windows 10, 13 and more are Windows 11, 0.1 to 0.3 are older."""
    major, _, rest = version.partition(".")
    number = int(major)
    if number == 0:
        return _WINDOWS_BEFORE_10.get(f"0.{rest.partition('.')[0]}", "")
    return "10" if number < 13 else "11"


def _weight(parameters: str) -> float:
    """The `q` of one choice: 1 where none is given, 0 where it is no number between 0 and 1."""
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    value = value.strip()
    if not re.fullmatch(r"[01](?:\.[0-9]{0,3})?", value):
        return 0.0
    return min(float(value), 1.0)
