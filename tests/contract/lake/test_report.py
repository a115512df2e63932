"""What `footfall report` counts, against a plain count in Python, and how it says so."""

from __future__ import annotations

import datetime
import json
import random
from collections import defaultdict
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from footfall.lake.reading import open_lake
from footfall.lake.report import Report, Selection, report_on
from tests.contract.lake.stage import DAY_MS, NOW_MS, Stage, event, record
from tests.serving import run_cli

KINDS = ("HOME", "ITEM_PAGE_VIEW", "ADD_TO_CART", "PURCHASE")
HAS_MATPLOTLIB = find_spec("matplotlib") is not None


def asked(stage: Stage, **selection: Any) -> Report:
    with open_lake(stage.data) as lake:
        return report_on(lake, Selection(**selection))


def land(stage: Stage, *events: dict[str, Any], platform: str = "SHOP") -> None:
    stage.append("w0", *(record(one, platform=platform) for one in events))
    stage.land()


def shopping(chance: random.Random, *, count: int) -> list[dict[str, Any]]:
    """Events of few people over ten weeks, with amounts that binary fractions cannot hold."""
    made = []
    for number in range(count):
        kind = chance.choice(KINDS)
        revenue = {"currency": chance.choice(["KRW", "EUR"]), "amount": f"{chance.randrange(1000)}.{chance.randrange(10**9):09}"}
        made.append(
            event(
                id=f"e{number}", event_type=kind, timestamp=NOW_MS - chance.randrange(70 * DAY_MS),
                user_id=chance.choice(["anna", "bob", "carl", None]), custom_id=chance.choice(["anna", None]),
                revenue=revenue if chance.random() < 0.7 else None,
            )
        )  # fmt: skip
    return made


def person(one: dict[str, Any]) -> tuple[str, str] | None:
    return next(((kind, one[kind]) for kind in ("user_id", "custom_id") if one.get(kind)), None)


def day_of(one: dict[str, Any]) -> datetime.date:
    return datetime.datetime.fromtimestamp(one["timestamp"] / 1000, tz=datetime.UTC).date()


def begin_of(day: datetime.date, by: str) -> datetime.date:
    return {"day": day, "week": day - datetime.timedelta(days=day.weekday()), "month": day.replace(day=1)}[by]


def counted(events: list[dict[str, Any]]) -> dict[str, Any]:
    revenue: dict[str, Decimal] = defaultdict(Decimal)
    for one in events:
        if one["event_type"] == "PURCHASE" and "revenue" in one:
            revenue[one["revenue"]["currency"]] += Decimal(one["revenue"]["amount"])
    return {"events": len(events), "users": len({person(one) for one in events} - {None}), "revenue": dict(revenue)}


@pytest.mark.parametrize("by", ["day", "week", "month"])
def test_every_figure_is_what_a_plain_count_says(tmp_path: Path, by: Any) -> None:
    stage = Stage(tmp_path)
    events = shopping(random.Random(by), count=600)
    land(stage, *events)
    report = asked(stage, by=by)
    groups: dict[tuple[Any, Any], list[dict[str, Any]]] = defaultdict(list)
    for one in events:
        period = begin_of(day_of(one), by)
        for key in ((period, one["event_type"]), (period, None), (None, one["event_type"]), (None, None)):
            groups[key].append(one)
    found = {(cell.period, cell.event_type): cell for cell in report.cells} | {(None, None): report.total}
    found |= {(period.period, None): period for period in report.periods}
    found |= {(None, kind.event_type): kind for kind in report.types}
    assert {key: {"events": it.events, "users": it.users, "revenue": it.revenue} for key, it in found.items()} == {
        key: counted(group) for key, group in groups.items()
    }
    assert [period.period for period in report.periods] == sorted({begin_of(day_of(one), by) for one in events})


def test_the_funnel_wants_the_steps_in_order(tmp_path: Path) -> None:
    """Who bought before the cart, or put into the cart before any view, goes no further; the same moment is in order."""
    stage = Stage(tmp_path)
    look, cart, buy = KINDS[1:]
    stories = {
        "all": [look, cart, buy], "twice": [look, cart, buy, look, cart, buy], "looked": [look], "no view": [cart, buy],
        "cart first": [cart, look, buy], "bought first": [look, buy, cart], "in the end": [cart, buy, look, cart, buy],
        "bought only": [buy],
    }  # fmt: skip
    for name, steps in stories.items():
        land(stage, *(event(id=None, event_type=kind, timestamp=NOW_MS + at, user_id=name) for at, kind in enumerate(steps)))
    land(stage, *(event(id=None, event_type=kind, user_id="at once") for kind in (buy, cart, look)))
    land(stage, *(event(id=None, event_type=kind, personalization_mode="ID_LESS") for kind in (look, cart, buy)))
    land(stage, event(id=None, event_type=cart, timestamp=NOW_MS + 9, user_id="looked"), platform="OTHER")
    funnel = asked(stage).funnel
    assert (funnel.viewed, funnel.carted, funnel.purchased) == (7, 5, 4)
    assert funnel.conversion == pytest.approx(4 / 7)


def test_a_report_is_about_one_platform_and_some_days(tmp_path: Path) -> None:
    """From the first moment of `since` to the last before `until`."""
    stage = Stage(tmp_path)
    midnight = NOW_MS // DAY_MS * DAY_MS
    moments = [midnight - 1, midnight, midnight + DAY_MS - 1, midnight + DAY_MS]
    land(stage, *(event(id=None, timestamp=moment) for moment in moments))
    land(stage, event(id=None, timestamp=midnight), platform="OTHER")
    day = datetime.date(2026, 9, 21)
    assert asked(stage, platform="SHOP", since=day, until=day + datetime.timedelta(days=1)).total.events == 2
    assert asked(stage, since=day).total.events == 4
    assert asked(stage, until=day).total.events == 1
    assert asked(stage, platform="NONE").total.events == 0


# -- the command


def test_without_a_table_the_report_is_empty_and_says_so(tmp_path: Path) -> None:
    shown, machine = run_cli("report", data=tmp_path / "none"), run_cli("report", "--json", data=tmp_path / "none")
    assert (shown.returncode, machine.returncode) == (0, 0)
    assert b"no event has landed yet" in shown.stderr
    assert not shown.stdout
    assert json.loads(machine.stdout)["total"] == {"events": 0, "users": 0, "revenue": {}}
    assert not (tmp_path / "none").exists()


def test_the_command_prints_tables_for_people_and_one_object_for_programs(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    money = {"currency": "KRW", "amount": "1234567.123456789"}
    land(
        stage, event(user_id="s3cr3t", event_type="ITEM_PAGE_VIEW"), event(user_id="s3cr3t", event_type="PURCHASE", revenue=money)
    )
    shown = run_cli("report", data=stage.data)
    assert (shown.returncode, shown.stderr) == (0, b"")
    text = shown.stdout.decode()
    assert "1,234,567.123456789 KRW" in text
    assert "2026-09-21" in text
    assert "█" in text
    assert "s3cr3t" not in text
    machine = run_cli("report", "--json", "--by", "month", "--platform", "SHOP", data=stage.data)
    made = json.loads(machine.stdout)
    figures = {"events": 1, "users": 1, "revenue": {"KRW": "1234567.123456789"}}
    assert made["cells"][1] == {"period": "2026-09-01", "event_type": "PURCHASE", **figures}
    assert made["funnel"] == {"viewed": 1, "carted": 0, "purchased": 0, "conversion": 0.0}
    assert (made["by"], made["platform"], made["since"]) == ("month", "SHOP", None)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "yesterday"), ("--until", "2026-13-01"), ("--since", "2026-09-02", "--until", "2026-09-02"),
        ("--by", "year"), ("--plot", "x.jpg"), ("--plot", "no/such/directory/x.svg"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ran = run_cli("report", *arguments, data=tmp_path)
    assert ran.returncode == 2
    assert arguments[0].encode() in ran.stderr


@pytest.mark.skipif(HAS_MATPLOTLIB, reason="Matplotlib is installed")
def test_without_matplotlib_the_way_to_get_it_is_told(tmp_path: Path) -> None:
    ran = run_cli("report", "--plot", str(tmp_path / "x.svg"), data=tmp_path)
    assert ran.returncode == 2
    assert b"pip install 'footfall[plot]'" in ran.stderr


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason="Matplotlib is not installed")
@pytest.mark.parametrize(("suffix", "is_empty"), [(".svg", False), (".PNG", False), (".svg", True)])
def test_the_picture_is_whole_the_same_each_time_and_about_nobody(tmp_path: Path, suffix: str, is_empty: bool) -> None:
    stage = Stage(tmp_path)
    stage.table()
    if not is_empty:
        land(stage, *shopping(random.Random(1), count=200), event(id="s3cr3t", user_id="s3cr3t", items=[{"id": "s3cr3t"}]))
    pictures = [tmp_path / f"{number}{suffix}" for number in range(2)]
    pictures[0].write_text("an older one")
    for picture in pictures:
        ran = run_cli("report", "--plot", str(picture), data=stage.data)
        assert ran.returncode == 0, ran.stderr
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second
    assert first.startswith(b"<?xml" if suffix == ".svg" else b"\x89PNG")
    assert b"s3cr3t" not in first
    assert {path.name for path in tmp_path.iterdir()} == {"data", *(picture.name for picture in pictures)}
