"""Pure functions that turn a model or a capture into a small frozen record.

One file per figure, and what several of them share: targets, tokens, readout, position_figures.
"""
