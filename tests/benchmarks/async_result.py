"""The peer of the status route: FastAPI asking Celery's `AsyncResult` for the state, as most tutorials have it."""

from __future__ import annotations

import sys

import uvicorn
from celery import Celery
from fastapi import FastAPI

port, redis_port = int(sys.argv[1]), sys.argv[2]
celery = Celery(broker=f"redis://127.0.0.1:{redis_port}/0", backend=f"redis://127.0.0.1:{redis_port}/0")
app = FastAPI()


@app.get("/tasks/{task_id}")
def status(task_id: str) -> dict[str, str]:
    """The task's state."""
    return {"task_id": task_id, "state": celery.AsyncResult(task_id).state}


uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="error", access_log=False)
