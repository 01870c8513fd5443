"""Models: `load.load` makes them from a name or a file, `from_module.wrap` from a network."""
