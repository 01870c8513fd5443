"""Pure functions from a model or a capture to a small frozen record; one file per question."""
