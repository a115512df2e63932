"""The steps of landing, one by one: partitions, repeats, poison, the erased, and what is kept out of the table's own log."""

from __future__ import annotations

import datetime
import random
from pathlib import Path
from typing import Any

import pytest

from footfall.errors import FootfallError
from footfall.lake import erased
from footfall.lake.engine import connected
from footfall.lake.landing import STAGING_NAME, Persons
from footfall.lake.quarantine import Quarantine
from footfall.lake.settings import LakeSettings
from footfall.registry.erasures import erasure_mac
from footfall.registry.store import Registry
from tests.contract.lake.stage import DAY_MS, NOW_MS, Model, Stage, erased_record, event, record
from tests.contract.lake.test_landing_model import PEPPER, Gone

TODAY = datetime.date(2026, 9, 21)


def days_ago(days: int) -> int:
    """A moment of that day."""
    return NOW_MS - days * DAY_MS


def first_of_month(day: datetime.date) -> datetime.date:
    return day.replace(day=1)


def first_of_year(day: datetime.date) -> datetime.date:
    return day.replace(month=1, day=1)


# -- partitions


@pytest.mark.parametrize(
    ("days", "partition_of"),
    [
        (0, None), (-1, None), (799, None), (800, None), (801, first_of_month), (1826, first_of_month), (1827, first_of_year),
        (20_000, first_of_year),
    ],
)  # fmt: skip
def test_old_events_share_partitions(tmp_path: Path, days: int, partition_of: Any) -> None:
    """A partition a day up to 800 days, a month up to five years, a year beyond."""
    stage = Stage(tmp_path)
    stage.append("w0", record(event(timestamp=days_ago(days))))
    stage.land()
    day = TODAY - datetime.timedelta(days=days)
    assert stage.rows("event_date", "timestamp") == [
        {"event_date": partition_of(day) if partition_of else day, "timestamp": days_ago(days)}
    ]


@pytest.mark.parametrize("earlier", [-1, 1])
def test_a_repeat_is_found_when_its_day_has_another_partition_by_now(tmp_path: Path, earlier: int) -> None:
    """The event landed as one of 799 days ago; its repeat comes when that day belongs to its month."""
    stage, model = Stage(tmp_path), Model()
    stage.append("w0", record(event(timestamp=days_ago(799))), record(event(id="other", timestamp=days_ago(799))))
    stage.land()
    stage.clock.advance(5 * 86_400)
    stage.append("w1", record(event(timestamp=days_ago(799)), received_at=NOW_MS + earlier))
    stage.land()
    model.take_all(stage.data)
    model.require_equal(stage)
    assert len({str(row["event_date"]) for row in stage.rows("event_date")}) == (2 if earlier < 0 else 1)


# -- repeats


def test_the_event_received_first_wins_even_when_the_other_is_in_the_table(tmp_path: Path) -> None:
    """Its file is written anew without it, and nothing else in that file changes."""
    stage = Stage(tmp_path)
    others = [record(event(id=f"other{number}", user_id=f"u{number}")) for number in range(5)]
    stage.append("w1", record(event(user_id="late"), received_at=NOW_MS + 5), *others[:2])
    stage.append("w1", *others[2:])
    stage.land(settings=LakeSettings(batch_events_max=1))
    assert len(stage.files()) == 2
    before = stage.rows()
    stage.append("w0", record(event(user_id="early"), received_at=NOW_MS + 4))
    stage.append("w0", record(event(user_id="later"), received_at=NOW_MS + 6))
    stage.land()
    winner, *kept = stage.rows()
    assert (winner["writer"], winner["user_id"]) == ("w0", "early")
    assert kept == [row for row in before if row["user_id"] != "late"]
    assert len(stage.files()) == 3
    stage.require_balance()


def test_events_without_id_are_never_repeats(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    for _ in range(2):
        stage.append("w0", *[record(event(id=None))] * 3)
        stage.land()
    assert len(stage.rows()) == 6
    stage.require_balance()


@pytest.mark.parametrize("member", ["platform", "event_type", "timestamp", "id"])
def test_what_differs_in_one_part_of_the_key_is_no_repeat(tmp_path: Path, member: str) -> None:
    stage = Stage(tmp_path)
    other: dict[str, Any] = {"event_type": "HOME", "timestamp": NOW_MS - 999, "id": "e2"}
    changed = event(**{member: other[member]}) if member in other else event()
    stage.append("w0", record(event()))
    stage.land()
    stage.append("w0", record(changed, platform="SHOP2" if member == "platform" else "SHOP"), record(event()))
    stage.land()
    assert len(stage.rows()) == 2
    assert stage.counts()["repeated"] == 1


def test_a_batch_takes_from_every_writer(tmp_path: Path) -> None:
    """A long backlog of one writer does not hide the others."""
    stage = Stage(tmp_path)
    for number in range(10):
        stage.append("w0", *(record(event(id=f"a{number}-{part}")) for part in range(10)))
    stage.append("w1", record(event(id="b")))
    with stage.lander(settings=LakeSettings(batch_events_max=40)) as lander:
        landed = lander.land()
    assert landed.more
    assert "w1" in {row["writer"] for row in stage.rows("writer")}
    assert not stage.land()[-1].more
    stage.require_balance()


# -- poison

HEAD = b'{"platform":"SHOP","mode":"live","received_at":1,"source":"api",'
POISONS = (
    HEAD + b'"event":{"id":"a","id":"b","timestamp":10000000000}}',
    HEAD + b'"event":{"id":"p","timestamp":%d}}' % 2**70,
    HEAD + b'"event":{"id":"p","timestamp":253402300800000}}',
    HEAD + b'"event":{"id":"p","timestamp":-1}}',
    HEAD + b'"event":{"id":"p","timestamp":1.5e400}}',
    HEAD + b'"event":{"id":"\\ud800","timestamp":10000000000}}',
    HEAD + b'"event":{"timestamp":10000000000,"revenue":{"amount":"x"}}}',
    HEAD + b'"event":{"timestamp":10000000000,"revenue":{"amount":"NaN"}}}',
    HEAD + b'"event":{"timestamp":10000000000,"revenue":{"amount":"1e30"}}}',
    HEAD + b'"event":{"timestamp":10000000000,"items":[{"quantity":%d}]}}' % 2**63,
    HEAD + b'"event":{"timestamp":10000000000,"items":{}}}',
    HEAD + b'"event":{"timestamp":10000000000,"device":"phone"}}',
    HEAD + b'"event":{"timestamp":10000000000',
    HEAD + b'"event":{"timestamp":10000000000}}}',
    HEAD + b'"event":{"user_id":"\xff","timestamp":10000000000}}',
    HEAD + b'"event":{"event_type":"HOME"}}',
    HEAD + b'"event":null}',
    HEAD + b'"event":[]}',
    b'{"platform":"SHOP","mode":"live","received_at":1,"source":"api"}',
    b'{"platform":null,"mode":"live","received_at":1,"source":"api","event":{"timestamp":10000000000}}',
    b'{"platform":"../../x","mode":"live","received_at":1,"source":"api","event":{"timestamp":10000000000}}',
    b'{"platform":"SHOP","mode":"live","source":"api","event":{"timestamp":10000000000}}',
    b"{}",
    b"[]",
    b"",
    b"null",
    b"\x00",
    b'"',
)


@pytest.mark.parametrize("poison", POISONS, ids=range(len(POISONS)))
def test_a_record_that_is_no_row_is_kept_apart_and_stops_nobody(tmp_path: Path, poison: bytes) -> None:
    """With its position, a reason, and itself; the rows before and behind it land."""
    stage = Stage(tmp_path)
    stage.append("w0", record(event(id="a")), poison, record(event(id="b")))
    stage.land()
    assert [row["id"] for row in stage.rows("id")] == ["a", "b"]
    (kept,) = stage.poisons()
    assert (kept.position, kept.record) == ("w0/2", poison.decode("utf-8", "replace"))
    assert kept.reason
    stage.require_balance()


def hide_poison(stage: Stage, *, poisons: int) -> None:
    """So many bad records among ten thousand are found, each by its position."""
    bad = set(random.Random(3).sample(range(10_000), poisons))
    bodies = [
        record(event(id="p", timestamp="soon")) if number in bad else record(event(id=f"e{number}"))
        for number in range(10_000)
    ]  # fmt: skip
    stage.append("w0", *bodies)
    stage.land()
    assert {poison.sequence - 1 for poison in stage.poisons()} == bad
    assert stage.counts() == {"read": 10_000, "quarantined": poisons}
    stage.require_balance()


def test_poison_is_found_among_ten_thousand(tmp_path: Path) -> None:
    hide_poison(Stage(tmp_path), poisons=4)


def test_poison_that_was_kept_before_a_death_counts_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.append("w0", record(event(timestamp="soon")), record(event()))

    def die(step: str) -> None:
        if step == "commit":
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            stage.land(at=die)
        assert stage.poisons() == []
    stage.land()
    assert len(Quarantine(stage.data).files()) == 3
    assert len(stage.poisons()) == 1
    stage.require_balance()


def test_want_of_memory_is_not_poison(tmp_path: Path) -> None:
    """What the machine lacks is said, nothing lands, and nothing is put aside; later everything lands."""
    stage = Stage(tmp_path)
    filler = "x" * 60_000
    for part in range(20):
        stage.append("w0", *(record(event(id=f"{part}-{number}", page_id=filler)) for number in range(100)))

    def fill_the_spill_directory(step: str) -> None:
        if step == "parse":  # nowhere to put what memory does not hold
            spill = stage.data / STAGING_NAME / "spill"
            spill.rmdir() if spill.is_dir() else None
            spill.write_bytes(b"")

    with pytest.raises((FootfallError, OSError)):
        stage.land(settings=LakeSettings(batch_bytes_max=1 << 30, memory_bytes_max=128 << 20), at=fill_the_spill_directory)
    assert not Quarantine(stage.data).files()
    assert stage.table().version == 0
    stage.land()
    assert len(stage.rows("id")) == 2000
    stage.require_balance()


# -- the erased


def test_what_an_erasure_left_of_a_record_counts_as_erased(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.append("w0", erased_record(source="batch"), record(event()), erased_record(platform="OTHER"))
    stage.land()
    assert len(stage.rows()) == 1
    counts = stage.counts_by_source()
    assert (counts["SHOP", "batch", "erased"], counts["OTHER", "api", "erased"], counts["SHOP", "api", "erased"]) == (1, 1, 0)
    stage.require_balance()


@pytest.mark.parametrize("kind", ["user_id", "persistent_id", "custom_id"])
def test_nobody_who_was_erased_lands_and_later_events_do(tmp_path: Path, kind: str) -> None:
    """Told by that kind of identifier, on that platform, before that moment, whatever else the event says of somebody."""

    def by(identifier: str | None, *, kind: str = kind, **members: Any) -> dict[str, Any]:
        told = {"device": {"persistent_id": identifier}} if kind == "persistent_id" else {kind: identifier}
        return event(id=f"{identifier}{kind}{members}", **(told if identifier else {}), **members)

    other = "custom_id" if kind != "custom_id" else "user_id"
    stage = Stage(tmp_path)
    stage.persons = Persons([Gone("SHOP", kind, "anna", NOW_MS - 500)], PEPPER)
    stage.append(
        "w0",
        record(by("anna")),
        record(by("anna", timestamp=NOW_MS - 501)),
        record({**by("anna"), other: "bob"}),
        record(by("anna", timestamp=NOW_MS - 500)),
        record(by("anna", timestamp=NOW_MS)),
        record(by("Anna")),
        record(by("anna", kind=other)),
        record(by(None)),
        record(by("anna"), platform="OTHER"),
    )
    stage.land()
    assert [row["sequence"] for row in stage.rows("sequence")] == [4, 5, 6, 7, 8, 9]
    assert stage.counts()["erased"] == 3
    stage.require_balance()


@pytest.mark.parametrize("identifier", ["anna", "é", "a\0b", "'", "😀", "x" * 128, "\n"])
@pytest.mark.parametrize("pepper_bytes", [0, 1, 32, 63, 64, 65, 200])
def test_the_hash_is_the_registrys(identifier: str, pepper_bytes: int) -> None:
    """DuckDB's, spelt out of SHA-256, and Python's HMAC are one, for every length of key."""
    pepper = bytes(range(255 - pepper_bytes, 255))
    with connected(temporary=None) as connection:
        erased.prepare(connection, [], pepper=pepper)
        told = connection.execute("SELECT mac_of('SHOP', 'user_id', ?)", [identifier]).fetchall()
    assert told == [(erasure_mac(pepper, platform="SHOP", kind="user_id", identifier=identifier).hex(),)]


def test_an_erasure_of_the_registry_reaches_the_lander(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    with Registry.in_directory(stage.data) as registry:
        registry.add_platform("SHOP")
        registry.request_erasures("SHOP", kind="user_id", identifiers=["anna"], now_ms=NOW_MS)
        stage.persons = Persons(registry.erasures(), registry.pepper() or b"")
    stage.append("w0", record(event(user_id="anna")), record(event(user_id="anna", timestamp=NOW_MS)))
    stage.land()
    assert stage.counts()["erased"] == 1
    stage.require_balance()


# -- what is kept out


def test_no_value_of_an_event_is_in_the_tables_log(tmp_path: Path) -> None:
    """Neither a person nor a page: its entries and its checkpoint hold platforms, dates, times, counts and positions only."""
    names = ("user", "custom", "session", "query", "page", "referrer", "domain", "track", "item", "id")
    secrets = [f"s3cr3t-{name}" for name in names]
    user, custom, session, query, page, referrer, domain, track, item, event_id = secrets
    stage = Stage(tmp_path)
    for received_at in (NOW_MS, NOW_MS - 1):  # the second takes the place of the first
        sent = event(
            id=event_id, user_id=user, custom_id=custom, session_id=session, search_query=query, page_id=page,
            referrer_page_id=referrer, domain=domain, decision_track_id=track, items=[{"id": item}], extra={"colour": user},
            device={"persistent_id": user, "ip": user, "ua": user}, revenue={"currency": "KRW", "amount": "314159.25"},
        )  # fmt: skip
        stage.append(f"w{NOW_MS - received_at}", record(sent, received_at=received_at), record({**sent, "timestamp": "soon"}))
        stage.land()
    stage.table().checkpoint()
    logged = b"".join(path.read_bytes() for path in (stage.data / "lake" / "events" / "_delta_log").iterdir())
    assert len(stage.rows()) == 1
    assert b"footfall/count/SHOP/api/repeated" in logged
    for secret in [*secrets, "s3cr3t", "314159", "PAGE_VIEW"]:
        assert secret.encode() not in logged, secret
    assert not any("s3cr3t" in path.name for path in (stage.data / "lake").rglob("*"))


def test_staging_is_empty_when_a_lander_is_done_and_when_the_next_begins(tmp_path: Path) -> None:
    """It holds personal data, also where a lander died."""
    stage = Stage(tmp_path)
    leftover = stage.data / STAGING_NAME / "spill" / "x.ndjson"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("anna")
    stage.append("w0", record(event()))
    seen = []
    stage.land(at=lambda step: seen.append((step, leftover.exists())))
    assert seen and not any(exists for _, exists in seen)
    assert not (stage.data / STAGING_NAME).exists()
