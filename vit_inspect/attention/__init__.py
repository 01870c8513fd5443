"""Where queries meet keys, and nowhere else: single rows, blocks of rows, sums over all rows."""
