"""The page that Prometheus scrapes says what is known, from the first scrape on, as its own tool wants it."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from observability import metrics
from observability.exposition import ClusterSnapshot, render
from observability.metrics import LocalMetrics
from observability.totals import encode

SUCCEEDED, FAILED = metrics.TASKS_SUCCEEDED.name, metrics.TASKS_FAILED.name
SNAPSHOT = ClusterSnapshot(
    totals={
        encode(SUCCEEDED, ("ingest", "upload@h1", "upload")): 7.0,
        encode(FAILED, ("ingest", "upload@h1", "upload", "ValueError")): 2.0,
        encode("celery_task_of_tomorrow_total", ("a",)): 1.0,
        encode(SUCCEEDED, ("too", "few")): 1.0,
        "not ours": 1.0,
    },
    workers={"upload@h1": (2.5, 3), "pinning@h2": (10.0, 1)},
    queue_lengths={"upload": 4, "pinning": 0},
    declared=[("ingest", "upload"), ("pin", "pinning")],
)


async def samples(cluster: ClusterSnapshot | None) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    page, _ = await render(LocalMetrics("1.2.3").registry, cluster)
    families = text_string_to_metric_families(page.decode())
    found = [((sample.name, frozenset(sample.labels.items())), sample.value) for f in families for sample in f.samples]
    assert len(dict(found)) == len(found), "a series stands on the page twice"
    return dict(found)


def key(name: str, /, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


async def test_totals_become_counters() -> None:
    page = await samples(SNAPSHOT)

    ingest = {"name": "ingest", "hostname": "upload@h1", "queue_name": "upload"}
    assert page[key(SUCCEEDED, **ingest)] == 7
    assert page[key(FAILED, **ingest, exception="ValueError")] == 2
    assert not [name for name, _ in page if "tomorrow" in name]


@pytest.mark.parametrize(("actor", "queue"), [("ingest", "upload"), ("pin", "pinning")])
async def test_every_declared_actor_starts_at_zero(actor: str, queue: str) -> None:
    page = await samples(SNAPSHOT)

    nobody = {"name": actor, "hostname": "", "queue_name": queue}
    assert page[key(SUCCEEDED, **nobody)] == 0
    assert page[key(FAILED, **nobody, exception="")] == 0
    assert page[key("celery_task_received_total", **nobody)] == 0


async def test_a_silent_worker_is_shown_as_down_and_idle() -> None:
    page = await samples(SNAPSHOT)

    up = {name: page[key("celery_worker_up", hostname=name)] for name in SNAPSHOT.workers}
    active = {name: page[key("celery_worker_tasks_active", hostname=name)] for name in SNAPSHOT.workers}
    assert up == {"upload@h1": 1, "pinning@h2": 0}
    assert active == {"upload@h1": 3, "pinning@h2": 0}


async def test_queues_show_their_length() -> None:
    page = await samples(SNAPSHOT)

    assert page[key("celery_queue_length", queue_name="upload")] == 4
    assert page[key("celery_queue_length", queue_name="pinning")] == 0
    assert page[key("moorage_cluster_snapshot_up")] == 1


async def test_without_a_snapshot_the_page_says_so_and_shows_the_rest() -> None:
    page = await samples(None)

    assert page[key("moorage_cluster_snapshot_up")] == 0
    assert not [name for name, _ in page if name.startswith("celery_")]
    assert page[key("moorage_build_info", version="1.2.3")] == 1


async def test_uploads_are_counted_from_start_to_end() -> None:
    local = LocalMetrics("1")
    read = local.registry.get_sample_value

    local.upload_started()
    assert read("moorage_uploads_active") == 1
    local.upload_finished("raw", "accepted", size_bytes=300, duration_seconds=0.2)
    local.block_damaged()

    assert read("moorage_uploads_active") == 0
    assert read("moorage_uploads_total", {"kind": "raw", "outcome": "accepted"}) == 1
    assert read("moorage_uploads_total", {"kind": "multipart", "outcome": "aborted"}) == 0
    assert read("moorage_upload_bytes_total", {"kind": "raw"}) == 300
    assert read("moorage_upload_duration_seconds_bucket", {"kind": "raw", "le": "0.25"}) == 1
    assert read("moorage_store_verify_failures_total") == 1


async def test_every_metric_on_the_page_is_declared_and_every_declared_one_is_there() -> None:
    page, content_type = await render(LocalMetrics("1").registry, SNAPSHOT)

    declared = {value.name: value for value in vars(metrics).values() if isinstance(value, metrics.Metric)}
    types = dict(line.split(" ")[2:4] for line in page.decode().splitlines() if line.startswith("# TYPE"))
    ours = {name: kind for name, kind in types.items() if not name.startswith("process_")}
    assert ours == {name: metric.kind for name, metric in declared.items()}
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's package prometheus) is not installed")
async def test_promtool_accepts_the_page() -> None:
    local = LocalMetrics("1")
    local.http_requests.labels("GET", "/x", "200").inc()
    local.http_request_duration.labels("GET", "/x").observe(0.1)
    page, _ = await render(local.registry, SNAPSHOT)

    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, timeout=30, check=False)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
