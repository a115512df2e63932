"""User agents: real ones are told apart, frozen values are left out, hostile ones cost little and raise nothing."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.events.schema import Device
from footfall.events.useragent import AGENT_CHARS_MAX, UserAgent, first_language, parse, parse_headers, warm

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
CHROME_ANDROID = f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/131.0.0.0 Mobile Safari/537.36"
CHROME_WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/131.0.0.0 Safari/537.36"
CHROME_MAC = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Chrome/131.0.0.0 Safari/537.36"

AGENTS: dict[str, tuple[str, str, str, str]] = {
    "Chrome, reduced, Android": (CHROME_ANDROID, "Android", "", ""),
    "Chrome, reduced, Windows": (CHROME_WINDOWS, "Windows", "", ""),
    "Chrome, reduced, Mac": (CHROME_MAC, "macOS", "", "Mac"),
    "Chrome, reduced, Linux": (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/131.0.0.0 Safari/537.36", "Linux", "", ""),
    "Chrome, reduced, Chrome OS": (
        f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/131.0.0.0 Safari/537.36",
        "Chrome OS",
        "",
        "",
    ),
    "Chrome before the reduction": (
        f"Mozilla/5.0 (Linux; Android 9; SM-G960F) {WEBKIT} Chrome/90.0.4430.91 Mobile Safari/537.36",
        "Android",
        "9",
        "SM-G960F",
    ),
    "Android 10 with a real model is a real Android 10": (
        f"Mozilla/5.0 (Linux; Android 10; SM-A505F) {WEBKIT} Chrome/90.0.4430.91 Mobile Safari/537.36",
        "Android",
        "10",
        "SM-A505F",
    ),
    "Edge": (CHROME_WINDOWS + " Edg/131.0.0.0", "Windows", "", ""),
    "Firefox, Windows 7": ("Mozilla/5.0 (Windows NT 6.1; Win64; x64; rv:109.0) Gecko/20100101 Firefox/115.0", "Windows", "7", ""),
    "Firefox, Windows 10 or 11": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0",
        "Windows",
        "",
        "",
    ),
    "Firefox, Mac": ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:132.0) Gecko/20100101 Firefox/132.0", "macOS", "", "Mac"),
    "Firefox, Ubuntu": ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0", "Linux", "", ""),
    "Firefox, Android": ("Mozilla/5.0 (Android 14; Mobile; rv:132.0) Gecko/132.0 Firefox/132.0", "Android", "14", ""),
    "Firefox, Android, frozen": ("Mozilla/5.0 (Android 10; Mobile; rv:132.0) Gecko/132.0 Firefox/132.0", "Android", "", ""),
    "Safari, iPhone": (
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_6_1 like Mac OS X) {SAFARI} Version/17.6 Mobile/15E148 Safari/604.1",
        "iOS",
        "17.6.1",
        "iPhone",
    ),
    "Safari 18.6 says the truth": (
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) {SAFARI} Version/18.6 Mobile/15E148 Safari/604.1",
        "iOS",
        "18.6",
        "iPhone",
    ),
    "Safari 26 has frozen the system at 18.6": (
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) {SAFARI} Version/26.0 Mobile/15E148 Safari/604.1",
        "iOS",
        "",
        "iPhone",
    ),
    "Safari, old iPad": (
        f"Mozilla/5.0 (iPad; CPU OS 12_5_7 like Mac OS X) {SAFARI} Version/12.1.2 Mobile/15E148 Safari/604.1",
        "iOS",
        "12.5.7",
        "iPad",
    ),
    "Chrome, iPad": (
        f"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) {SAFARI} CriOS/125.0.6422.51 Mobile/15E148 Safari/604.1",
        "iOS",
        "17.5",
        "iPad",
    ),
    "Safari, Mac (or an iPad that asks for desktop pages)": (
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {SAFARI} Version/18.1 Safari/605.1.15",
        "macOS",
        "",
        "Mac",
    ),
    "Samsung browser": (
        f"Mozilla/5.0 (Linux; Android 13; SAMSUNG SM-A546B) {WEBKIT} SamsungBrowser/23.0 Chrome/115.0.0.0 Mobile Safari/537.36",
        "Android",
        "13",
        "SM-A546B",
    ),
    "Samsung browser, reduced": (
        f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile Safari/537.36",
        "Android",
        "",
        "",
    ),
    "Android web view": (
        f"Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UQ1A.240205.004; wv) {WEBKIT} Version/4.0 Chrome/121.0.6167.178 "
        "Mobile Safari/537.36",
        "Android",
        "14",
        "Pixel 8",
    ),
    "KakaoTalk's web view": (
        f"Mozilla/5.0 (Linux; Android 12; SM-G991N Build/SP1A.210812.016; wv) {WEBKIT} Version/4.0 Chrome/119.0.6045.66 "
        "Mobile Safari/537.36;KAKAOTALK 2410440",
        "Android",
        "12",
        "SM-G991N",
    ),
    "Facebook's web view": (
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) {SAFARI} Mobile/21E236 "
        "[FBAN/FBIOS;FBAV/454.0.0.40.108;FBDV/iPhone15,3;FBMD/iPhone;FBSN/iOS;FBSV/17.4.1]",
        "iOS",
        "17.4.1",
        "iPhone15,3",
    ),
    "Instagram's web view": (
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 16_6 like Mac OS X) {SAFARI} Mobile/15E148 "
        "Instagram 302.0.0.23.113 (iPhone12,1; iOS 16_6; en_US; en-US; scale=2.00; 828x1792; 520702420)",
        "iOS",
        "16.6",
        "iPhone12,1",
    ),
    "an app on Android's own HTTP client": (
        "Dalvik/2.1.0 (Linux; U; Android 13; Pixel 7 Build/TQ3A.230901.001)",
        "Android",
        "13",
        "Pixel 7",
    ),
    "an app on Apple's network library": ("MyShop/2.3.1 CFNetwork/1490.0.4 Darwin/23.2.0", "iOS", "17.2", ""),
    "an app on Alamofire": ("MyShop/2.3.1 (com.myshop; build:7; iOS 17.2.0) Alamofire/5.8.1", "iOS", "17.2.0", ""),
    "an app on okhttp says nothing of its device": ("okhttp/4.12.0", "", "", ""),
    "Googlebot": ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "", "", ""),
    "Googlebot, as a phone it is not": (
        f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) {WEBKIT} Chrome/131.0.6778.69 Mobile Safari/537.36 "
        "(compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Android",
        "6.0.1",
        "",
    ),
    "Facebook's link preview": ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "", "", ""),
    "a television": (
        f"Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) {WEBKIT} 76.0.3809.146/6.0 TV Safari/537.36",
        "Tizen",
        "6.0",
        "SMART-TV",
    ),
    "curl": ("curl/8.5.0", "", "", ""),
    "empty": ("", "", "", ""),
    "blank": ("   ", "", "", ""),
    "garbage": ("<script>alert(1)</script>\x00\ud800é", "", "", ""),
}


@pytest.mark.parametrize(("agent", "os", "os_version", "model"), AGENTS.values(), ids=list(AGENTS))
def test_a_real_agent_is_understood(agent: str, os: str, os_version: str, model: str) -> None:
    assert parse(agent) == UserAgent(ua=agent, os=os, os_version=os_version, model=model)


def test_every_agent_of_an_app_platform_names_ios_or_android_as_the_protocol_wants_it() -> None:
    for name, (agent, os, _version, _model) in AGENTS.items():
        if any(word in agent for word in ("Android", "iPhone", "iPad", "CFNetwork", "iOS")):
            assert "ios" in os.lower() or "android" in os.lower(), name


def test_client_hints_come_before_what_the_agent_froze() -> None:
    found = parse_headers(
        {
            "User-Agent": CHROME_ANDROID,
            "Sec-CH-UA-Platform": '"Android"',
            "Sec-CH-UA-Platform-Version": '"14.0.0"',
            "Sec-CH-UA-Model": '"Pixel 8"',
            "Accept-Language": "ko-KR,ko;q=0.9,en;q=0.8",
        }
    )
    assert found == UserAgent(ua=CHROME_ANDROID, os="Android", os_version="14", model="Pixel 8", language="ko")


@pytest.mark.parametrize(
    ("hint", "version"),
    [
        ("15.0.0", "11"),
        ("13.0.0", "11"),
        ("10.0.0", "10"),
        ("1.0.0", "10"),
        ("0.3.0", "8.1"),
        ("0.1.0", "7"),
        ("0.0.0", ""),
        ("", ""),
    ],
)
def test_the_windows_hint_is_translated_to_the_version_people_know(hint: str, version: str) -> None:
    headers = {"user-agent": CHROME_WINDOWS, "sec-ch-ua-platform": '"Windows"', "sec-ch-ua-platform-version": f'"{hint}"'}
    assert parse_headers(headers).os_version == version


def test_header_names_count_in_any_case() -> None:
    plain = {"user-agent": CHROME_MAC, "sec-ch-ua-platform": '"macOS"', "sec-ch-ua-platform-version": '"14.5.0"'}
    shouted = {name.upper(): value for name, value in plain.items()}
    assert parse_headers(plain) == parse_headers(shouted)
    assert parse_headers(shouted).os_version == "14.5"


def test_a_platform_hint_without_version_keeps_what_the_agent_says_of_the_same_system() -> None:
    agent = AGENTS["Samsung browser"][0]
    found = parse_headers({"User-Agent": agent, "Sec-CH-UA-Platform": '"Android"', "Sec-CH-UA-Model": '""'})
    assert (found.os, found.os_version, found.model) == ("Android", "13", "SM-A546B")


def test_an_agent_that_pretends_another_system_does_not_complete_the_hints() -> None:
    found = parse_headers({"User-Agent": CHROME_MAC, "Sec-CH-UA-Platform": '"Android"'})
    assert (found.os, found.os_version, found.model) == ("Android", "", "")


@pytest.mark.parametrize(
    "hint", ["", '""', '"Unknown"', '"', "?1", '"' + "A" * 500 + '"', '"Andr\x00oid"', '"BeOS"', "\\", '"Androïd"', '"a\\']
)
def test_a_strange_platform_hint_leaves_the_word_to_the_agent(hint: str) -> None:
    assert parse_headers({"User-Agent": CHROME_ANDROID, "Sec-CH-UA-Platform": hint}).os == "Android"


@pytest.mark.parametrize(
    ("hint", "model"),
    [
        ('"Pixel 8"', "Pixel 8"),
        ('"say \\"hi\\""', 'say "hi"'),
        ("Pixel 8", "Pixel 8"),
        ('"K"', ""),
        ('"Pixel 8";v=1', "Pixel 8"),
        ('"', ""),
    ],
)
def test_a_model_hint_is_read_as_a_structured_header(hint: str, model: str) -> None:
    assert parse_headers({"User-Agent": CHROME_ANDROID, "Sec-CH-UA-Model": hint}).model == model


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("ko-KR,ko;q=0.9,en-US;q=0.8", "ko"), ("en", "en"), ("EN-us", "en"), ("de;q=0.5, fr;q=0.9", "fr"), ("zh-Hant-TW", "zh"),
        ("en_GB", "en"), ("iw-IL", "he"), ("in-ID", "id"), ("fil-PH,en;q=0.5", "tl"), ("*", ""), ("", ""), ("haw", ""),
        ("en;q=0, ja;q=0.1", "ja"), ("en;q=nan, ja;q=0.1", "ja"), ("e1", ""), ("日本", ""), (",,,", ""), ("pt-BR ; q=1.0", "pt"),
    ],
)  # fmt: skip
def test_the_language_is_the_first_choice_in_two_letters(header: str, language: str) -> None:
    assert first_language(header) == language


def test_no_headers_at_all_are_no_device() -> None:
    assert parse_headers({}) == UserAgent()


def test_a_device_is_made_from_an_agent_or_headers() -> None:
    """The door most callers use: `Device.from_user_agent` and `Device.from_headers`."""
    agent = AGENTS["Safari, iPhone"][0]
    device = Device.from_user_agent(agent, ip="203.0.113.7")
    assert (device.os, device.os_version, device.model, device.ua, device.ip) == ("iOS", "17.6.1", "iPhone", agent, "203.0.113.7")
    assert Device.from_headers({"user-agent": agent, "accept-language": "ja"}, persistent_id="p") == Device(
        ua=agent, os="iOS", os_version="17.6.1", model="iPhone", language="ja", persistent_id="p"
    )


def test_an_overlong_agent_is_kept_whole_and_matched_by_its_beginning() -> None:
    agent = AGENTS["Safari, iPhone"][0] + " " + "x" * 10_000
    assert parse(agent) == UserAgent(ua=agent, os="iOS", os_version="17.6.1", model="iPhone")
    assert parse("x" * AGENT_CHARS_MAX + CHROME_WINDOWS).os == ""


@pytest.mark.parametrize(
    "seed", [";", "; ", "/", "x; wv) ", "Android ", "Mozilla/5.0 (Linux; Android 9; ", "bot", "(", "1.", "HTC "]
)
def test_a_hostile_agent_costs_milliseconds_at_most(seed: str) -> None:
    """Measured 6 ms at the worst; a pattern that went exponential would take minutes."""
    warm()
    start = time.perf_counter()
    parse((seed * 60_000)[:60_000])
    assert time.perf_counter() - start < 1.0


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(max_size=600))
def test_no_text_makes_the_parser_raise(text: str) -> None:
    assert parse(text).ua == text
    headers = {"User-Agent": text, "Accept-Language": text, "Sec-CH-UA-Platform": text}
    headers |= {"Sec-CH-UA-Platform-Version": text, "Sec-CH-UA-Model": text}
    assert parse_headers(headers).ua == text


def test_importing_the_module_does_not_import_the_matcher() -> None:
    """`import footfall` stays cheap: ua-parser comes with the first parse, or with `warm`."""
    program = (
        "import sys, footfall.events.useragent as agents\n"
        "assert not [name for name in sys.modules if name.startswith('ua_parser')]\n"
        "agents.warm()\n"
        "assert 'ua_parser' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
