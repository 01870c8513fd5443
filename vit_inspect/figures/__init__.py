"""How a record is told and drawn: `draw` (matplotlib, for print), `plot` (plotly, for the screen).

One file per figure, and what they share: figure, looks, the two sheets, overlay, tiles.
"""
