"""The edge: HTTP, the command line and the supervisor. Imports `tasks`; nothing imports it."""
