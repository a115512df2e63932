"""What can be set of the lake. Loading is `cli`'s; nothing here reads the outside."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Positive = Annotated[float, msgspec.Meta(gt=0)]


class LakeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[lake]`: where the table lies, and how events get there."""

    enabled: bool = True
    """whether `serve` lands events; without it they wait in the log for `footfall land`"""
    table: str | None = None
    """directory of the table, or `s3://bucket/path` (with AWS_… variables); unset: `lake/events` in the data directory"""
    batch_events_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100_000
    """events that land with one commit"""
    batch_bytes_max: Annotated[int, msgspec.Meta(ge=1024 * 1024)] = 96 * 1024 * 1024
    """bytes of the log that land with one commit"""
    interval_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 3.0
    """seconds between commits while few events come; a full batch lands at once"""
    memory_bytes_max: Annotated[int, msgspec.Meta(ge=128 * 1024 * 1024)] = 320 * 1024 * 1024
    """bytes that DuckDB may take while landing or compacting; beyond, it uses the volume"""
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """cores that landing and compacting use"""
    file_bytes: Annotated[int, msgspec.Meta(ge=1024 * 1024)] = 128 * 1024 * 1024
    """bytes of a data file that compaction aims at"""
    retention_days: _Positive | None = None
    """days that events stay in the table, where `footfall platform limits` says nothing else; unset: for ever"""
    log_retention_days: _Positive = 1.0
    """days that landed events stay in the log, where `footfall platform limits` says nothing else"""
    vacuum_hours: Annotated[float, msgspec.Meta(ge=0)] = 168.0
    """hours that data files stay after the table no longer needs them, for readers that are still at them"""
