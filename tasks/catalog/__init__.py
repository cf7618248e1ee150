"""The durable catalog: tasks, uploads and keys. What it holds is the truth; Redis holds hints and live views of it."""
