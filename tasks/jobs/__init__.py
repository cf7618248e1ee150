"""The actors: what workers do."""
