"""The work: Celery actors, the durable catalog, content stores and the files between them. Knows nothing of HTTP."""
