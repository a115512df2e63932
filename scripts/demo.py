"""`make demo`: the three documented events go from a Python shop to a test platform that explains them, and to a live one that
makes them durable. Everything is real: the server, the example, the commands. Ends by itself and leaves nothing behind."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

from local_server import LocalServer
from rich.console import Console
from rich.syntax import Syntax

from footfall import AddToWishlist, BadRequestError, Client, Device, Home, Item, Land, Money, PageView, Search

EXAMPLE = Path(__file__).parent.parent / "examples" / "three_events.py"
console = Console(width=min(120, Console().width) if Console().is_terminal else 120, highlight=False)
began = time.monotonic()


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="footfall-demo-") as directory,
        LocalServer(Path(directory) / "data", quiet=True) as server,
    ):
        with Window(server.port) as window:
            title("1", "A server, a platform pair, a key for each id")
            shell("footfall platform add SHOP", server.command("platform", "add", "SHOP"))
            shell("footfall key create SHOP_TEST", masked(server.keys["SHOP_TEST"]))
            shell("footfall serve", f"takes events at {server.url}")

            title("2", "examples/three_events.py, sent to the test platform")
            console.print(code(body_of_the_example(), "python"))
            run_example(server, window, mode="test")

            title("3", "The go-live table, so far")
            shell("footfall golive", golive(server))

            title("4", "A deliberately wrong event, and what the sender is told")
            wrong_event(server)

            title("5", "The rest of the shop: the table turns greener")
            rest_of_the_shop(server)
            shell("footfall golive", golive(server))

            title("6", "The very same file, sent to the live platform: 200 means it is on disk")
            run_example(server, window, mode="live")
            shell("footfall log cat --platform SHOP", server.command("log", "cat", "--platform", "SHOP"), syntax="json")

    title("7", "And to the original service: three settings")
    console.print("[bold]MCM_PLATFORM_NAME[/]=shop   for https://[bold]shop[/]-evt.mcm-api.moloco.com, instead of MCM_BASE_URL")
    console.print("[bold]MCM_TEST_PLATFORM_ID[/]=…, MCM_PLATFORM_ID=…   the two ids you were given")
    console.print(
        "[bold]MCM_TEST_API_KEY[/]=…, MCM_API_KEY=…           their keys; MCM_MODE=test first, live when the table is green"
    )
    console.print("\nNext: [bold]make run[/] keeps a server up; README.md and docs/ say the rest.")


# -- the steps


def run_example(server: LocalServer, window: Window, *, mode: str) -> None:
    settings = {
        "MCM_MODE": mode,
        "MCM_BASE_URL": window.url,
        "MCM_PLATFORM_ID": "SHOP",
        "MCM_API_KEY": server.keys["SHOP"],
        "MCM_TEST_PLATFORM_ID": "SHOP_TEST",
        "MCM_TEST_API_KEY": server.keys["SHOP_TEST"],
    }
    console.print(f"[bold green]$[/] MCM_MODE={mode} python examples/three_events.py")
    done = subprocess.run([sys.executable, str(EXAMPLE)], env={**os.environ, **settings}, capture_output=True, text=True)
    for number, exchange in enumerate(window.take()):
        if number == 0 and mode == "test":
            console.print(f"[dim]first event accepted {exchange.at_s - began:.1f} s after the start of this demo[/]\n")
        show_exchange(exchange)
    console.print(done.stdout or done.stderr)
    if done.returncode != 0:
        raise SystemExit(done.returncode)


def body_of_the_example() -> str:
    source = EXAMPLE.read_text()
    return source[source.index("def main") : source.index("def show")].rstrip() + "\n"


def show_exchange(exchange: Exchange) -> None:
    console.print(f"[blue]→[/] POST {exchange.path}   X-API-Key: {masked(exchange.key)}")
    console.print(code(compact(exchange.sent), "json"))
    console.print(f"[green]←[/] {exchange.status}")
    console.print(code(compact(exchange.answer), "json"))
    console.print()


def wrong_event(server: LocalServer) -> None:
    source = """client.insert_event({
    "eventType": "PURCHASE", "channelType": "APP",
    "timestamp": 1790000000,                         # seconds, not milliseconds
    "userId": "null",                                # a word for "nobody", not a user
    "items": [{"price": {"currency": "USD", "amount": 5}}],   # which item?
})"""
    console.print(code(source, "python"))
    with Client(base_url=server.url, platform_id="SHOP_TEST", api_key=server.keys["SHOP_TEST"]) as client:
        try:
            client.insert_event(
                {
                    "eventType": "PURCHASE",
                    "channelType": "APP",
                    "timestamp": 1790000000,
                    "userId": "null",
                    "items": [{"price": {"currency": "USD", "amount": 5}}],
                }
            )
        except BadRequestError as error:
            console.print(f"[red]BadRequestError[/] {error.status}: {error.message}")
            for violation in error.violations:
                console.print(f"  [bold]{violation.field}[/]  [dim]{violation.reason}[/]\n    {violation.description}")


def rest_of_the_shop(server: LocalServer) -> None:
    guest = Device.from_user_agent(
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", persistent_id="c4d20b6f98aa"
    )
    with Client(base_url=server.url, platform_id="SHOP_TEST", api_key=server.keys["SHOP_TEST"]) as client:
        for event in (
            Land(channel_type="SITE", device=guest, referrer_page_id="https://search.example/"),
            Home(channel_type="SITE", device=guest),
            PageView(channel_type="SITE", device=guest, page_id="CATEGORY:7"),
            Search(channel_type="SITE", device=guest, search_query="red shoes"),
            Search(channel_type="SITE", device=guest, search_query="red shoes", page_id="CATEGORY:7"),
            AddToWishlist(
                channel_type="SITE",
                device=guest,
                user_id="0f6e11d2a7b9",
                items=[Item(id="ABC1234", price=Money("USD", "19.99"), quantity=1)],
            ),
        ):
            answer = client.insert_event(event)
            console.print(f"  {event.event_type:<16} {answer.status}  {', '.join(answer.report.cases) if answer.report else ''}")


# -- looking over the example's shoulder


class Exchange(NamedTuple):
    """One request and its answer, as they went by."""

    path: str
    key: str
    sent: Any
    status: int
    answer: Any
    at_s: float


class Window:
    """A plain pass-through on loopback that remembers what went by, so that the demo can show the wire without touching the
    example. Not part of Footfall: an ordinary run has nothing in between."""

    def __init__(self, port: int) -> None:
        self._seen: list[Exchange] = []
        seen = self._seen

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                onward = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                onward.request("POST", self.path, body=body, headers=dict(self.headers))
                answer = onward.getresponse()
                content = answer.read()
                onward.close()
                seen.append(
                    Exchange(
                        self.path,
                        self.headers["X-API-Key"],
                        json.loads(body),
                        answer.status,
                        json.loads(content),
                        time.monotonic(),
                    )
                )
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self) -> list[Exchange]:
        taken = self._seen.copy()
        self._seen.clear()
        return taken


# -- how it looks


def title(number: str, text: str) -> None:
    console.rule(f"[bold]{number}  {text}", align="left", style="dim")


def shell(command: str, output: str, *, syntax: str = "") -> None:
    console.print(f"[bold green]$[/] {command}")
    console.print(code(output.rstrip(), syntax) if syntax else output.rstrip(), markup=False)
    console.print()


def golive(server: LocalServer) -> str:
    return server.command("golive", check=False)


def masked(key: str) -> str:
    return f"{key[:18]}…{key[-4:]}"


def compact(value: Any, *, depth: int = 0) -> str:
    """JSON with a line for each member down to a report's event, and everything below that in one line."""
    if not isinstance(value, dict) or not value or (depth and not any(isinstance(inner, dict) for inner in value.values())):
        return json.dumps(value, ensure_ascii=False)
    pad = "  " * (depth + 1)
    inner = {
        name: compact(member, depth=depth + 1) if name in ("test", "event") else json.dumps(member)
        for name, member in value.items()
    }
    return "{\n" + ",\n".join(f'{pad}"{name}": {text}' for name, text in inner.items()) + "\n" + "  " * depth + "}"


def code(text: str, language: str) -> Syntax:
    return Syntax(text, language, theme="ansi_dark", background_color="default", word_wrap=True)


if __name__ == "__main__":
    main()
