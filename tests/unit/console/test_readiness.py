"""Ready means: an event would be accepted now."""

from __future__ import annotations

from tests.unit.console.fleets import FleetFiles, OpsListener, ended_process, part_of


def test_nothing_there_is_not_ready(ops: OpsListener) -> None:
    assert ops.reasons == ["no worker is running"]


def test_a_worker_that_accepts_makes_ready(ops: OpsListener, files: FleetFiles) -> None:
    files.supervisor(parts={"w0": "running", "ops": "running"})
    files.worker("w0")
    assert ops.reasons == []


def test_the_reasons_of_the_only_worker_are_said_as_they_are_and_once(ops: OpsListener, files: FleetFiles) -> None:
    files.supervisor(parts={"w0": "running"})
    files.worker("w0", "disk: 1 MiB are free", "the log failed: x", "disk: 1 MiB are free")
    assert ops.reasons == ["disk: 1 MiB are free", "the log failed: x"]


def test_a_running_worker_that_accepts_nothing_makes_unready_though_another_accepts(ops: OpsListener, files: FleetFiles) -> None:
    """The kernel goes on giving it connections."""
    files.supervisor(parts={"w0": "running", "w1": "running"})
    files.worker("w0")
    files.worker("w1", "the log failed: x")
    assert ops.reasons == ["w1: the log failed: x"]


def test_while_all_start_each_says_so(ops: OpsListener, files: FleetFiles) -> None:
    files.supervisor(parts={"w0": "starting", "w1": "starting"})
    files.worker("w0", "starting")
    assert ops.reasons == ["w0: starting", "w1: starting"]


def test_a_server_that_has_only_just_begun_says_starting(ops: OpsListener, files: FleetFiles) -> None:
    files.supervisor()
    assert ops.reasons == ["starting"]
    files.supervisor(parts={"w0": part_of("starting", pid=None)})
    assert ops.reasons == ["starting"]


def test_a_worker_that_is_starting_or_being_replaced_does_not_matter_while_another_accepts(
    ops: OpsListener, files: FleetFiles
) -> None:
    files.supervisor(parts={"w0": "stopping", "w1": "running", "w2": "starting"})
    files.worker("w0", "stopping")
    files.worker("w1")
    assert ops.reasons == []
    files.worker("w1", "registry unreachable for 61 s")
    assert ops.reasons == ["w0: stopping", "w1: registry unreachable for 61 s", "w2: starting"]


def test_a_starting_worker_is_not_taken_for_its_predecessor(ops: OpsListener, files: FleetFiles) -> None:
    files.worker("w0", pid=ended_process())
    files.supervisor(parts={"w0": "starting"})
    assert ops.reasons == ["starting"]


def test_a_worker_that_lives_but_is_silent_for_more_than_five_seconds_makes_unready(ops: OpsListener, files: FleetFiles) -> None:
    files.worker("w0")
    files.worker("w1")
    files.clock.advance(4)
    files.worker("w0")
    files.supervisor(parts={"w0": "running", "w1": "running"})
    assert ops.reasons == []
    files.clock.advance(3)
    files.worker("w0")
    files.supervisor(parts={"w0": "running", "w1": "running"})
    assert ops.reasons == ["worker w1 has not been heard of for 7 s"]


def test_a_worker_that_died_does_not_accept_though_its_last_word_was_so(ops: OpsListener, files: FleetFiles) -> None:
    gone = ended_process()
    files.supervisor(parts={"w0": part_of("running", pid=gone)})
    files.worker("w0", pid=gone)
    assert ops.reasons == ["no worker is running"]
    files.supervisor(parts={"w0": part_of("backing off", pid=None)})
    assert ops.reasons == ["worker w0 ended by itself and is being started again"]


def test_one_worker_that_is_down_does_not_matter_while_another_accepts(ops: OpsListener, files: FleetFiles) -> None:
    """The kernel gives its connections to the others."""
    files.supervisor(parts={"w0": "running", "w1": part_of("backing off", pid=None)})
    files.worker("w0")
    assert ops.reasons == []


def test_a_supervisor_that_stops_makes_unready_whatever_the_workers_say(ops: OpsListener, files: FleetFiles) -> None:
    files.supervisor(parts={"w0": "running"}, stopping=True)
    files.worker("w0")
    assert ops.reasons == ["stopping"]


def test_without_a_supervisor_that_is_heard_of_fresh_workers_count_by_themselves(ops: OpsListener, files: FleetFiles) -> None:
    files.supervisor(parts={"w0": "running", "w1": "running"}, stopping=True)
    files.worker("w1", "never mind: it ended long ago")
    files.clock.advance(6)
    files.worker("w0")
    assert ops.reasons == []
    files.supervisor(pid=ended_process(), parts={"w5": "starting"}, stopping=True)
    assert ops.reasons == []
    files.worker("w0", "disk: full")
    assert ops.reasons == ["disk: full"]
    files.worker("w0", pid=ended_process())
    assert ops.reasons == ["no worker is running"]


def test_what_was_written_before_the_machine_restarted_does_not_count(ops: OpsListener, files: FleetFiles) -> None:
    """The clock of heartbeats began anew: they lie in the future."""
    files.worker("w0", heartbeat_s=files.clock.monotonic_s() + 3_600)
    files.supervisor(heartbeat_s=files.clock.monotonic_s() + 3_600, parts={"w0": "running"})
    assert ops.reasons == ["no worker is running"]


def test_a_status_file_full_of_garbage_is_no_worker(ops: OpsListener, files: FleetFiles) -> None:
    files.supervisor(parts={"w0": "running"})
    (files.run / "w0.status").write_bytes(b"\xff" * 100_000)
    assert ops.reasons == ["worker w0 has not been heard of"]


def test_health_needs_no_worker_and_no_file(ops: OpsListener) -> None:
    reply = ops.get("/healthz")
    assert (reply.status, reply.json) == (200, {"status": "alive"})
    assert (reply.headers["content-type"], reply.headers["cache-control"]) == ("application/json", "no-store")


def test_other_paths_and_methods_are_refused_with_the_ones_there_are(ops: OpsListener) -> None:
    assert ops.get("/").status == 404
    assert "/metrics" in ops.get("/metricsx").json["error"]
    for path in ("/healthz", "/readyz", "/metrics"):
        refused = ops.request("POST", path)
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
        assert refused.headers["cache-control"] == "no-store"
        assert ops.request("HEAD", path).body == b""
