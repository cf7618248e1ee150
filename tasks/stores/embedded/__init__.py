"""The embedded content store: uploaded files kept whole, their blocks found through an index."""
