"""Settings: three layers, each over the one before, and nothing unknown passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from footfall.cli.settings import Settings, describe, load
from footfall.errors import SettingsError


def loaded(tmp_path: Path, toml: str = "", **environment: str) -> Settings:
    (tmp_path / "footfall.toml").write_text(toml)
    return load(file=None, data=tmp_path, environment=environment)


def test_without_a_file_everything_is_at_its_default(tmp_path: Path) -> None:
    settings = load(file=None, data=tmp_path / "none", environment={})
    assert settings == Settings()
    assert all(value == default for _, _, value, default in describe(settings))


def test_the_environment_wins_over_the_file_and_flags_win_over_both(tmp_path: Path) -> None:
    (tmp_path / "footfall.toml").write_text('[server]\nport = 1001\nops_port = 1002\nhost = "::1"\n')
    environment = {"FOOTFALL_SERVER__PORT": "2001", "FOOTFALL_SERVER__OPS_PORT": "2002"}
    flags = {"server": {"port": 3001, "host": None}}
    server = load(file=None, data=tmp_path, environment=environment, flags=flags).server
    assert (server.port, server.ops_port, server.host) == (3001, 2002, "::1")


def test_variables_without_a_section_are_no_settings(tmp_path: Path) -> None:
    assert loaded(tmp_path, FOOTFALL_KEY="k", FOOTFALL_DATA="d", PATH="/bin") == Settings()


def test_text_of_the_environment_becomes_the_type_of_the_setting(tmp_path: Path) -> None:
    settings = loaded(tmp_path, FOOTFALL_DURABILITY__ACCEPT_TMPFS="true", FOOTFALL_LIMITS__BODY_TIMEOUT_S="2.5")
    assert settings.durability.accept_tmpfs is True
    assert settings.limits.body_timeout_s == 2.5


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[server]\nprot = 1", "no setting server.prot; did you mean port?"),
        ("[sevrer]\nport = 1", "no section sevrer; did you mean server?"),
        ("port = 1", "port stands outside a section; the sections are server, limits, throttle, durability, lake, logging"),
        ("[server]\nport = 70000", "setting server.port: expected `int` <= 65535"),
        ("[server", "is no TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_place(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(SettingsError, match=r"\S") as refused:
        loaded(tmp_path, toml)
    assert said in refused.value.message


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no settings file"):
        load(file=tmp_path / "other.toml", data=tmp_path, environment={})
