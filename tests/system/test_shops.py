"""The example shops under the servers that shops run on, and a real receiver at the other end: what shoppers do arrives there."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.cookies import SimpleCookie
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from footfall import hash_identifier
from tests.serving import Footfall, free_port, until

SHOPS = Path(__file__).parents[2] / "examples" / "shops"
HASH_KEY = "s3cret"
SHOPPER = "192.0.2.7"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
GUNICORN = ("gunicorn", "--workers", "2", "--bind", "127.0.0.1:{port}", "--no-control-socket")
UVICORN = ("uvicorn", "--port", "{port}", "--log-level", "warning")

COMMANDS = {
    "flask": (sys.executable, str(SHOPS / "flask_shop.py")),
    "django": (sys.executable, str(SHOPS / "django_shop.py")),
    "fastapi": (sys.executable, str(SHOPS / "fastapi_shop.py")),
    "flask-gunicorn": (sys.executable, "-m", *GUNICORN, "flask_shop:app"),
    "flask-gunicorn-preload": (sys.executable, "-m", *GUNICORN, "--preload", "flask_shop:app"),
    "django-gunicorn": (sys.executable, "-m", *GUNICORN, "django_shop:application"),
    "django-gunicorn-preload": (sys.executable, "-m", *GUNICORN, "--preload", "django_shop:application"),
    "fastapi-uvicorn": (sys.executable, "-m", *UVICORN, "fastapi_shop:app"),
    "fastapi-uvicorn-workers": (sys.executable, "-m", *UVICORN, "--workers", "2", "fastapi_shop:app"),
}
NEEDS = {"flask": ("flask",), "django": ("django",), "fastapi": ("fastapi", "uvicorn", "itsdangerous")}


class Browser:
    """Keeps cookies, follows redirects, and comes through one proxy after having lied to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}

    def get(self, path: str) -> int:
        return self._request("GET", path)

    def post(self, path: str) -> int:
        return self._request("POST", path)

    def _request(self, method: str, path: str) -> int:
        headers = {
            "User-Agent": SAFARI,
            "Accept-Language": "ko-KR,ko;q=0.9,en;q=0.8",
            "X-Forwarded-For": f"6.6.6.6, {SHOPPER}",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers, body=b"" if method == "POST" else None)
            answer = connection.getresponse()
            answer.read()
        for line in answer.headers.get_all("Set-Cookie", []):
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(line).items()}
        location = answer.headers.get("Location")
        return self._request("GET", location) if location else answer.status


class Shop:
    """An example as a process, with its outbox under `directory`."""

    def __init__(self, command: tuple[str, ...], *, directory: Path, receiver: Footfall) -> None:
        self.port = free_port()
        self.log_path = directory / "shop.log"
        settings = {
            "MCM_MODE": "live",
            "MCM_BASE_URL": receiver.url,
            "MCM_PLATFORM_ID": "SHOP",
            "MCM_API_KEY": receiver.keys["SHOP"],
            "SHOP_HASH_KEY": HASH_KEY,
            "SHOP_PROXIES": "1",
            "PORT": str(self.port),
            "PYTHONPATH": str(SHOPS),
        }
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [part.format(port=self.port) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env={**os.environ, **settings},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_ready(self) -> None:
        """Ready is a shop that has answered a path that no shop has; asking tracks nothing."""

        def answers() -> bool:
            assert self.process.poll() is None, self.output
            try:
                return Browser(self.port).get("/nothing-here") == 404
            except OSError:
                return False

        assert until(answers, seconds=30), self.output

    def workers(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children(recursive=True)}

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # only what is left of the group
            self.process.wait(timeout=20)


@contextlib.contextmanager
def open_shop(name: str, *, directory: Path, receiver: Footfall) -> Iterator[Shop]:
    for module in NEEDS[name.partition("-")[0]] + (("gunicorn",) if "gunicorn" in name else ()):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    shop = Shop(COMMANDS[name], directory=directory, receiver=receiver)
    try:
        shop.wait_ready()
        yield shop
    finally:
        shop.stop()


def events_of(receiver: Footfall, **members: str) -> list[dict[str, Any]]:
    """What arrived for a device with these members."""
    events = [record["event"] for record in receiver.records("SHOP")]
    return [event for event in events if members.items() <= event["device"].items()]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_walk_through_the_shop_arrives_as_one_person(name: str, shared_footfall: Footfall, tmp_path: Path) -> None:
    with open_shop(name, directory=tmp_path, receiver=shared_footfall) as shop:
        browser = Browser(shop.port)
        walk = [browser.get(path) for path in ("/", "/search?q=boots", "/product/boots")]
        walk += [browser.post(path) for path in ("/cart/boots", "/signin/anna", "/checkout")]
        assert walk == [200] * 6, shop.output
        known = hash_identifier(browser.cookies["footfall_id"], HASH_KEY)
        assert until(lambda: len(events_of(shared_footfall, persistent_id=known)) == 7, seconds=20), shop.output
    events = sorted(events_of(shared_footfall, persistent_id=known), key=lambda event: event["timestamp"])
    assert [event["event_type"] for event in events] == [
        "HOME", "SEARCH", "ITEM_PAGE_VIEW", "ADD_TO_CART", "PAGE_VIEW", "HOME", "PURCHASE",
    ]  # fmt: skip
    device = {
        "ua": SAFARI, "os": "iOS", "os_version": "17.5", "model": "iPhone", "language": "ko", "ip": SHOPPER,
        "persistent_id": known,
    }  # fmt: skip
    assert [event["device"] for event in events] == [device] * 7
    assert [event.get("user_id", "") for event in events] == [""] * 5 + [hash_identifier("anna", HASH_KEY)] * 2
    assert events[1]["search_query"] == "boots"
    assert events[-1]["revenue"] == {"currency": "EUR", "amount": "59.90"}
    assert {event["channel_type"] for event in events} == {"SITE"}
    assert "footfall" not in shop.output.replace(str(SHOPS), ""), shop.output  # nothing to complain about


class Crowd:
    """Shoppers who come, search for a word of their own and go, some two hundred a second, until they are told to leave."""

    def __init__(self, port: int, *, name: str) -> None:
        self.port = port
        self.name = name
        self.answered: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._search, args=(number,)) for number in range(3)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _search(self, number: int) -> None:
        count = 0
        while not self._stop.wait(0.01):
            word, count = f"{self.name}:{number}-{count}", count + 1
            with contextlib.suppress(OSError, http.client.HTTPException):  # a connection that a leaving worker dropped
                if Browser(self.port).get(f"/search?q={word}") == 200:
                    self.answered.add(word)


@pytest.mark.parametrize(
    "name",
    [
        "flask-gunicorn",
        pytest.param("flask-gunicorn-preload", marks=pytest.mark.torture),
        pytest.param("fastapi-uvicorn-workers", marks=pytest.mark.torture),
    ],
)
def test_reloading_workers_under_traffic_loses_nothing(name: str, shared_footfall: Footfall, tmp_path: Path) -> None:
    with open_shop(name, directory=tmp_path, receiver=shared_footfall) as shop, Crowd(shop.port, name=name) as crowd:
        for _ in range(2):
            old, served = shop.workers(), len(crowd.answered)
            shop.process.send_signal(signal.SIGHUP)
            assert until(lambda old=old: len(shop.workers() - old) >= 2, seconds=30), shop.output  # type: ignore[misc]
            assert until(lambda served=served: len(crowd.answered) > served + 50, seconds=30), shop.output  # type: ignore[misc]
        crowd.leave()
        arrived: list[dict[str, Any]] = []

        def all_arrived() -> bool:
            arrived[:] = [event for event in events_of(shared_footfall) if event.get("search_query", "").startswith(f"{name}:")]
            return crowd.answered <= {event["search_query"] for event in arrived}

        assert until(all_arrived, seconds=75), shop.output
    ids = {event["search_query"]: event["id"] for event in arrived}
    assert {event["id"] for event in arrived} == set(ids.values())  # a search that arrived twice is the same event
