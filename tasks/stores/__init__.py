"""Content stores: one Protocol, several implementations, one conformance suite."""
