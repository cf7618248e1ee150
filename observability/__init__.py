"""Logs, metrics and Celery signal handlers. Imports neither `service` nor `tasks`; gets plain values and callables."""
