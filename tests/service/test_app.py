"""The application as a whole: its description, its page, its metrics."""

from __future__ import annotations

import shutil
import subprocess

import httpx
import pytest

from tests.service.served import Served

ROUTES = {
    "/api/v1/uploads": {"post", "put"},
    "/api/v1/uploads/{filename}": {"put"},
    "/tasks": {"get"},
    "/tasks/{task_id}": {"get"},
    "/tasks/{task_id}/status": {"get"},
    "/tasks/{task_id}/result": {"get"},
    "/tasks/test": {"post"},
    "/tasks/test/add": {"post"},
    "/tasks/test/sleep": {"post"},
    "/tasks/test/long": {"post"},
    "/tasks/test/fail": {"post"},
    "/ipfs/{cid}": {"get", "head"},
    "/livez": {"get"},
    "/readyz": {"get"},
    "/health": {"get"},
    "/metrics": {"get"},
}
TWICE = [path for path in ROUTES if path.startswith("/tasks")]
"""Paths that answer below `/api/v1`, too."""

SHAPES = {"UploadAnswer", "StatusAnswer", "TaskView", "ResultAnswer", "TaskList", "Submitted", "Health", "Readiness"}


def test_the_description_names_every_route(edge: Served) -> None:
    with edge.client() as anyone:
        paths = anyone.get("/docs/openapi.json").json()["paths"]
    assert {path: set(methods) for path, methods in paths.items()} == ROUTES | {
        f"/api/v1{path}": ROUTES[path] for path in TWICE
    }


def test_the_description_names_every_shape_and_resolves(edge: Served) -> None:
    with edge.client() as anyone:
        answer = anyone.get("/docs/openapi.json")
    described = answer.json()
    assert described["openapi"].startswith("3.")
    assert described["info"]["title"] == "Moorage"
    schemas = described["components"]["schemas"]
    assert set(schemas) >= SHAPES
    for found in answer.text.split('"$ref":')[1:]:
        name = found.split('"')[1].removeprefix("#/components/schemas/")
        assert name in schemas
    identifiers = [
        operation["operationId"] for methods in described["paths"].values() for operation in methods.values()
    ]
    assert len(identifiers) == len(set(identifiers))
    assert set(described["components"]["securitySchemes"]) == {"key", "bearer"}


def test_the_page_for_people_is_there(edge: Served) -> None:
    with edge.client() as anyone:
        answer = anyone.get("/docs")
        described = anyone.get("/docs/openapi.json").json()
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    for name in (*described["paths"], *described["components"]["schemas"]):
        assert name in answer.text
    assert "<script" not in answer.text  # it must show on a machine without the internet
    assert "://" not in answer.text


def sample(page: str, line: str) -> float:
    [found] = [text for text in page.splitlines() if text.startswith(f"{line} ")]
    return float(found.split()[-1])


def test_the_metrics_page_counts_uploads_by_their_end(edge: Served, ann: httpx.Client) -> None:
    def counted(kind: str, outcome: str) -> float:
        return sample(ann.get("/metrics").text, f'moorage_uploads_total{{kind="{kind}",outcome="{outcome}"}}')

    before = [counted("raw", "accepted"), counted("multipart", "accepted"), counted("multipart", "rejected")]
    ann.put("/api/v1/uploads/a", content=b"x")
    ann.post("/api/v1/uploads", files={"f": b"x"})
    ann.post("/api/v1/uploads", files={"f": b"x", "g": b"y"})
    after = [counted("raw", "accepted"), counted("multipart", "accepted"), counted("multipart", "rejected")]
    assert after == [count + 1 for count in before]
    assert sample(ann.get("/metrics").text, "moorage_uploads_active") == 0


def test_the_metrics_page_labels_by_route_and_never_by_path(ann: httpx.Client) -> None:
    ann.get("/tasks/some-very-particular-id/status")
    ann.get("/some-very-particular-path")
    ann.request("PROPFIND", "/tasks")
    page = ann.get("/metrics").text
    assert 'route="/tasks/{task_id}/status"' in page
    assert "very-particular" not in page
    assert "PROPFIND" not in page


def test_the_metrics_page_shows_a_first_value_for_every_actor(ann: httpx.Client) -> None:
    page = ann.get("/metrics").text
    for actor, queue in (("ingest", "upload"), ("add", "upkeep"), ("reconcile", "schedule")):
        assert sample(page, f'celery_task_succeeded_total{{hostname="",name="{actor}",queue_name="{queue}"}}') == 0


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, which comes with Prometheus, is not installed")
def test_promtool_finds_nothing_wrong_with_the_metrics_page(ann: httpx.Client) -> None:
    ann.put("/api/v1/uploads/a", content=b"x")
    page = ann.get("/metrics")
    checked = subprocess.run(["promtool", "check", "metrics"], input=page.content, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_every_answer_carries_a_request_id(ann: httpx.Client) -> None:
    for path in ("/livez", "/tasks", "/docs", "/nowhere"):
        assert ann.get(path).headers["x-request-id"]
