"""What can be set of the server. One frozen Struct a section of the settings file; the default is the documented limit.

Loading (file, environment, flags) is `cli`'s; nothing here reads the outside.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[int, msgspec.Meta(gt=0)]


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[server]`: where it listens and how it stops."""

    host: str = "127.0.0.1"
    """address of the public listener"""
    port: Port = 8080
    """port of the public listener; 0 picks a free one"""
    ops_host: str = "127.0.0.1"
    """address of the ops listener (health, metrics); keep it off the internet"""
    ops_port: Port = 8081
    """port of the ops listener; 0 picks a free one"""
    workers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 1
    """processes that take events in, each with a log of its own; 0: one for every usable core"""
    tls_cert: str | None = None
    """file of the public listener's certificate chain (PEM); with `tls_key` the listener speaks TLS"""
    tls_key: str | None = None
    """file of its private key (PEM, not encrypted)"""
    drain_delay_s: Annotated[float, msgspec.Meta(ge=0, le=300)] = 0.0
    """seconds between "not ready" and the closing of the listener at SIGTERM, for load balancers"""
    registry_poll_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0
    """seconds between looks at the registry: a new or revoked key works or stops working within this"""


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`: the bounds of what a sender may ask."""

    body_bytes_max: Annotated[int, msgspec.Meta(gt=0, le=256 * 1024)] = 64 * 1024
    """bytes of one event's body"""
    batch_bytes_max: Positive = 8 * 1024 * 1024
    """bytes of a batch's body as sent"""
    batch_inflated_bytes_max: Positive = 32 * 1024 * 1024
    """bytes of a batch's body after inflation"""
    batch_events_max: Positive = 10_000
    """events of one batch"""
    inflate_ratio_max: Annotated[int, msgspec.Meta(ge=1)] = 100
    """how many times larger than sent a compressed body may become, beyond its first MiB"""
    body_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 10.0
    """seconds a body may take to arrive"""
    idle_timeout_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 75.0
    """seconds a connection may idle or take for its headers; a short one makes pooled senders lose events"""
    header_bytes_max: Annotated[int, msgspec.Meta(ge=8192, le=1024 * 1024)] = 16 * 1024
    """bytes of a request's head"""
    bytes_in_flight_max: Positive = 64 * 1024 * 1024
    """bytes of all bodies a worker reads or stores at one time; one key, and all batches, hold at most three quarters"""
    connections_max: Positive = 8192
    """open connections of a worker; granian calls it backpressure and counts connections, not requests"""
    timestamp_ahead_s: Annotated[float, msgspec.Meta(ge=0)] = 300.0
    """seconds an event's timestamp may lie in the future"""


class ThrottleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[throttle]`: how fast one identifier may send, where `footfall platform limits` says nothing else."""

    identifier_per_s: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 50.0
    """events a second of one identifier, over all workers; 0: no limit"""
    identifier_burst: Annotated[int, msgspec.Meta(gt=0, le=10_000_000)] = 200
    """events that one identifier may send at once after a pause"""
    buckets_max: Positive = 100_000
    """identifiers remembered by each worker; beyond, the longest known are forgotten"""


class DurabilitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[durability]`: the log on disk."""

    accept_tmpfs: bool = False
    """allow a data directory in memory, which no power cut survives: for demos and tests"""
    segment_bytes: Annotated[int, msgspec.Meta(ge=64 * 1024)] = 32 * 1024 * 1024
    """bytes at which a log file is closed and the next begun"""
    free_bytes_min: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """free bytes below which new events are refused; unset: the larger of two segments and the smaller of 5 % and 2 GiB"""
    test_retention_days: Annotated[float, msgspec.Meta(gt=0)] = 7.0
    """days that test events are kept"""


class LoggingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[logging]`: what the processes write to standard error."""

    format: Literal["auto", "text", "json"] = "auto"
    """text for people, JSON lines for machines; auto: text on a terminal"""
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """the least level that is written"""
