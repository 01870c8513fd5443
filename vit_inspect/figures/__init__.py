"""Result -> figure: `draw` (matplotlib, to print) and `plot` (plotly, to explore)."""
