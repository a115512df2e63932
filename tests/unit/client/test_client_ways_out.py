"""How a client leaves the machine: the proxy and the authorities it is told of, and no others."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from footfall import Answer, AsyncClient, Client, NetworkError
from footfall.client.settings import checked_settings
from footfall.delivery.transport import ScriptedTransport
from footfall.errors import SettingsError
from tests.contract.delivery.certificates import made_certificate, serving, trusting
from tests.contract.delivery.proxies import proxy
from tests.contract.delivery.receiver import Receiver

Insert = Callable[..., Answer]
PLACE: dict[str, Any] = {"platform_name": "shop", "platform_id": "SHOP", "api_key": "key-secret"}
LIVE = {"MCM_MODE": "live", "MCM_PLATFORM_NAME": "shop", "MCM_PLATFORM_ID": "SHOP", "MCM_API_KEY": "key-secret"}
PROXY = "http://anna:pass-word@proxy.internal:3128"


def made(kind: Any, **options: Any) -> Any:
    return kind(**PLACE, **options)


def made_from_env(kind: Any, **options: Any) -> Any:
    return kind.from_env(LIVE, **options)


@pytest.fixture
def no_certificates(tmp_path: Path) -> Path:
    path = tmp_path / "empty.pem"
    path.write_text("no certificate in here\n")
    return path


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("make", [made, made_from_env])
class TestBothClients:
    @pytest.mark.parametrize(
        ("options", "cure"),
        [
            ({"proxy": 7}, "proxy is text or left out, not int"),
            ({"proxy": "socks5://proxy:1080"}, "expected http://host:port"),
            ({"proxy": "https://proxy:3128"}, "write http://"),
            ({"proxy": "proxy.internal:3128"}, "expected http://host:port"),
            ({"proxy": "http://proxy.internal"}, "expected http://host:port"),
            ({"proxy": "http://anna:pass-word@proxy.internal:99999"}, "expected http://host:port"),
            ({"proxy": "http://anna:pass-word@proxy.internal:3128/path"}, "expected http://host:port"),
            ({"tls": True}, "tls is an ssl.SSLContext or left out, not bool; a file of authorities goes into ca_file"),
            ({"tls": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, "context of a server"),
            ({"tls": ssl.create_default_context(), "ca_file": "ca.pem"}, "by one of tls and ca_file"),
            ({"ca_file": True}, "ca_file is the path of a PEM file"),
            ({"ca_file": ""}, "ca_file is the path of a PEM file"),
            ({"ca_file": "missing/ca.pem"}, r"ca_file='missing/ca\.pem' cannot be read: No such file"),
            ({"ca_file": "a\0b"}, "cannot be read: it is no path"),
            ({"transport": ScriptedTransport(), "proxy": PROXY}, "give them to the one handed in"),
            ({"transport": ScriptedTransport(), "tls": ssl.create_default_context()}, "give them to the one handed in"),
        ],
    )
    def test_what_makes_no_sense_is_refused_with_the_cure(self, kind: Any, make: Any, options: dict[str, Any], cure: str) -> None:
        with pytest.raises(SettingsError, match=cure) as raised:
            make(kind, **options)
        assert "pass-word" not in f"{raised.value!r} {raised.value.__cause__!r}"

    def test_a_file_without_certificates_and_a_directory_are_refused(self, kind: Any, make: Any, no_certificates: Path) -> None:
        with pytest.raises(SettingsError, match="holds no certificate in PEM form"):
            make(kind, ca_file=no_certificates)
        with pytest.raises(SettingsError, match=r"cannot be read|holds no certificate"):
            make(kind, ca_file=no_certificates.parent)

    def test_repr_masks_what_is_secret_and_shows_the_way(self, kind: Any, make: Any) -> None:
        shown = repr(make(kind, proxy=PROXY, tls=ssl.create_default_context()))
        assert "proxy='http://…@proxy.internal:3128', tls=…" in shown
        assert "anna" not in shown
        assert "pass-word" not in shown
        assert "proxy='http://[::1]:3128'" in repr(make(kind, proxy="http://[::1]:3128"))
        assert "proxy" not in repr(make(kind))


def test_the_key_does_not_travel_in_clear_to_a_proxy_elsewhere() -> None:
    with pytest.raises(SettingsError, match="readably to the proxy"):
        Client(platform_id="SHOP", api_key="k", base_url="http://localhost:8080", proxy=PROXY)
    Client(platform_id="SHOP", api_key="k", base_url="http://localhost:8080", proxy="http://127.0.0.1:3128").close()


def test_no_variable_of_the_environment_names_a_proxy_or_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "MCM_PROXY"):
        monkeypatch.setenv(name, PROXY)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "missing.pem")
    assert repr(made(Client)) == repr(made_from_env(Client))
    assert "proxy" not in repr(made_from_env(Client))


def sync_insert(url: str, **options: Any) -> Answer:
    with Client(platform_id="SHOP", api_key="key-secret", base_url=url, **options) as client:
        return client.insert_event(event_type="HOME")


def async_insert(url: str, **options: Any) -> Answer:
    async def run() -> Answer:
        async with AsyncClient(platform_id="SHOP", api_key="key-secret", base_url=url, **options) as client:
            return await client.insert_event(event_type="HOME")

    return asyncio.run(run())


@pytest.mark.parametrize("insert", [sync_insert, async_insert])
class TestOverSockets:
    def test_a_receiver_is_trusted_by_a_file_or_a_context_and_by_nothing_else(self, insert: Insert, certificate: Path) -> None:
        with Receiver(tls=serving(certificate)) as receiver:
            assert insert(receiver.url, ca_file=certificate).status == 200
            assert insert(receiver.url, ca_file=str(certificate)).status == 200
            assert insert(receiver.url, tls=trusting(certificate)).status == 200
            with pytest.raises(NetworkError, match="its certificate is not trusted here"):
                insert(receiver.url)
            assert len(receiver.arrivals) == 3

    def test_events_go_through_the_proxy_which_sees_neither_them_nor_the_key(self, insert: Insert, certificate: Path) -> None:
        with Receiver(tls=serving(certificate)) as receiver, proxy(login="anna:pass-word") as way:
            assert insert(receiver.url, ca_file=certificate, proxy=way.url("anna:pass-word@")).status == 200
            assert len(receiver.arrivals) == 1
            assert way.heads[0].startswith(f"CONNECT 127.0.0.1:{receiver.port} ".encode())
            assert b"key-secret" not in b"".join(way.heads + way.tunnelled)

    def test_a_proxy_that_refuses_is_a_network_error_without_its_password(self, insert: Insert, certificate: Path) -> None:
        with Receiver(tls=serving(certificate)) as receiver, proxy(login="anna:pass-word") as way:
            with pytest.raises(NetworkError, match="proxy") as raised:
                insert(receiver.url, ca_file=certificate, proxy=way.url("anna:old-word@"))
            assert "old-word" not in f"{raised.value!r} {raised.value.__cause__!r}"
            assert receiver.arrivals == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_certificate(tmp_path_factory.mktemp("tls"))


def test_the_authorities_of_a_file_are_checked_like_the_system_s_and_stand_alone(certificate: Path) -> None:
    place: dict[str, Any] = {**PLACE, "region": None, "base_url": None, "currency": None, "timeout_s": 1.0, "retries": 0}
    tls = checked_settings(**place, ca_file=certificate).tls
    assert tls is not None
    assert len(tls.get_ca_certs()) == 1
    assert tls.verify_mode is ssl.CERT_REQUIRED
    assert tls.check_hostname
    assert checked_settings(**place).tls is None
