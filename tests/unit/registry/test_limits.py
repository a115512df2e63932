"""Limits of a platform id: kept beside the server's defaults, sane, and news for every server."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.errors import RegistryRefusedError
from footfall.registry.snapshot import Limits, Rate, Retention
from footfall.registry.store import Registry
from tests.serving import run_cli


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.in_directory(tmp_path) as opened:
        opened.add_platform("SHOP")
        yield opened


def test_a_new_platform_has_the_defaults_of_the_server(registry: Registry) -> None:
    assert registry.limits("SHOP") == Limits(identifier="default", platform="default", key="default")
    assert registry.snapshot().limits == {}


def test_what_is_set_is_kept_and_what_is_not_named_stays(registry: Registry) -> None:
    assert registry.set_limits("SHOP", identifier=Rate(0.5, 3), key="none") == Limits(identifier=Rate(0.5, 3), key="none")
    assert registry.set_limits("SHOP", platform=Rate(1e6, 10_000_000)).identifier == Rate(0.5, 3)
    assert registry.limits("SHOP") == Limits(identifier=Rate(0.5, 3), platform=Rate(1e6, 10_000_000), key="none")
    assert registry.snapshot().limits == {"SHOP": registry.limits("SHOP")}, "and nothing for the test id"


def test_default_takes_a_limit_back(registry: Registry) -> None:
    registry.set_limits("SHOP", identifier="none", key=Rate(1.0, 1))
    assert registry.set_limits("SHOP", identifier="default", key="default") == Limits()
    assert registry.snapshot().limits == {}


def test_setting_limits_is_news_for_servers(registry: Registry) -> None:
    before = registry.revision()
    registry.set_limits("SHOP", key="none")
    assert registry.revision() > before


@pytest.mark.parametrize(
    "rate", [Rate(0.0, 1), Rate(-1.0, 1), Rate(math.nan, 1), Rate(math.inf, 1), Rate(1_000_001.0, 1), Rate(5.0, 0), Rate(5.0, -1)]
)
def test_a_rate_that_makes_no_sense_changes_nothing(registry: Registry, rate: Rate) -> None:
    before = registry.revision()
    with pytest.raises(RegistryRefusedError, match="between"):
        registry.set_limits("SHOP", identifier="none", key=rate)
    assert registry.limits("SHOP") == Limits()
    assert registry.revision() == before


def test_limits_of_an_unknown_platform_are_refused(registry: Registry) -> None:
    with pytest.raises(RegistryRefusedError, match="platform list"):
        registry.limits("NOSHOP")
    with pytest.raises(RegistryRefusedError, match="platform list"):
        registry.set_limits("NOSHOP", key="none")


# -- at the command line


def test_the_command_shows_each_limit_and_where_it_comes_from(registry: Registry, tmp_path: Path) -> None:
    done = run_cli("platform", "limits", "SHOP", data=tmp_path, env={"FOOTFALL_THROTTLE__IDENTIFIER_PER_S": "7.5"})
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.decode().splitlines()[1:]] == [
        ["identifier", "7.5", "200", "default"],
        ["platform", "no", "limit", "default"],
        ["key", "no", "limit", "default"],
    ]
    assert done.stderr == b""


def test_the_command_sets_and_says_that_servers_follow(registry: Registry, tmp_path: Path) -> None:
    options = ("--identifier", "20", "--platform", "1000.5/3000", "--key", "none", "--json")
    done = run_cli("platform", "limits", "SHOP", *options, data=tmp_path)
    assert json.loads(done.stdout) == {
        "platform": "SHOP",
        "limits": {
            "identifier": {"per_s": 20, "burst": 80, "from": "own"},
            "platform": {"per_s": 1000.5, "burst": 3000, "from": "own"},
            "key": {"per_s": None, "burst": None, "from": "own"},
        },
        "retention": {"lake_days": None, "log_days": None},
    }
    assert b"within seconds" in done.stderr
    assert registry.limits("SHOP") == Limits(identifier=Rate(20.0, 80), platform=Rate(1000.5, 3000), key="none")
    shown = run_cli("platform", "show", "SHOP", data=tmp_path)
    assert b"identifier 20/80, platform 1000.5/3000, key none" in shown.stdout
    assert json.loads(run_cli("platform", "show", "SHOP_TEST", "--json", data=tmp_path).stdout)["limits"] == {}


def test_a_slow_rate_has_a_burst_of_at_least_one(registry: Registry, tmp_path: Path) -> None:
    assert run_cli("platform", "limits", "SHOP", "--key", "0.1", data=tmp_path).returncode == 0
    assert registry.limits("SHOP").key == Rate(0.1, 1)


@pytest.mark.parametrize("rate", ["fast", "50/0", "1e3"])
def test_a_rate_that_is_none_is_a_mistake_of_usage_and_says_what_to_write(registry: Registry, tmp_path: Path, rate: str) -> None:
    done = run_cli("platform", "limits", "SHOP", "--key", rate, data=tmp_path)
    assert done.returncode == 2
    assert b"--key " + rate.encode() in done.stderr
    assert b"none" in done.stderr
    assert registry.limits("SHOP") == Limits()


def test_the_command_refuses_an_unknown_platform(registry: Registry, tmp_path: Path) -> None:
    done = run_cli("platform", "limits", "NOSHOP", "--key", "5", data=tmp_path)
    assert done.returncode == 1
    assert b"platform list" in done.stderr


# -- how long events are kept


def test_retention_is_the_settings_own_until_it_is_set_and_again_after_default(registry: Registry) -> None:
    assert registry.retention("SHOP") == Retention(lake_days=None, log_days=None)
    assert registry.set_retention("SHOP", lake_days=400.0) == Retention(lake_days=400.0)
    assert registry.set_retention("SHOP", log_days=0.5) == Retention(lake_days=400.0, log_days=0.5)
    assert registry.retentions() == {"SHOP": registry.retention("SHOP")}, "and nothing for the test id"
    assert registry.set_retention("SHOP", lake_days="default", log_days="default") == Retention()
    assert registry.retentions() == {}


@pytest.mark.parametrize("days", [0.0, -1.0, math.nan, math.inf, 36_501.0])
def test_days_that_make_no_sense_change_nothing(registry: Registry, days: float) -> None:
    with pytest.raises(RegistryRefusedError, match="days"):
        registry.set_retention("SHOP", log_days=1.0, lake_days=days)
    assert registry.retentions() == {}


def test_a_test_id_has_days_in_the_log_only(registry: Registry) -> None:
    with pytest.raises(RegistryRefusedError, match="never reach the lake"):
        registry.set_retention("SHOP_TEST", lake_days=3.0)
    assert registry.set_retention("SHOP_TEST", log_days=3.0, lake_days="default") == Retention(log_days=3.0)


def test_retention_of_an_unknown_platform_is_refused(registry: Registry) -> None:
    with pytest.raises(RegistryRefusedError, match="platform list"):
        registry.set_retention("NOSHOP", log_days=3.0)
    with pytest.raises(RegistryRefusedError, match="platform list"):
        registry.retention("NOSHOP")


def test_the_command_sets_days_beside_rates_and_show_tells_them(registry: Registry, tmp_path: Path) -> None:
    done = run_cli("platform", "limits", "SHOP", "--lake-days", "400", "--log-days", "0.5", data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"retention of SHOP is set" in done.stderr
    assert registry.retention("SHOP") == Retention(lake_days=400.0, log_days=0.5)
    assert registry.limits("SHOP") == Limits()
    shown = run_cli("platform", "show", "SHOP", data=tmp_path)
    assert b"kept in the lake for 400 days, in the log for 0.5 days" in shown.stdout
    shown = run_cli("platform", "show", "SHOP", "--json", data=tmp_path)
    assert json.loads(shown.stdout)["retention"] == {"lake_days": 400.0, "log_days": 0.5}


@pytest.mark.parametrize("days", ["long", "0", "-1", "nan", "1e3", "99999999"])
def test_days_that_are_none_are_a_mistake_of_usage(registry: Registry, tmp_path: Path, days: str) -> None:
    done = run_cli("platform", "limits", "SHOP", f"--lake-days={days}", data=tmp_path)
    assert done.returncode == 2
    assert b"--lake-days " + days.encode() in done.stderr
    assert registry.retentions() == {}
