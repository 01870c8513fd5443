"""Pure functions that turn a model or a capture into a small frozen record; one file each."""
