"""A Redis transport for Celery that loses nothing: `broker_transport = "tasks.transport:Transport"`."""
