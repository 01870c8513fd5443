"""Attention from queries and keys: single rows, blocks of rows, and sums over all rows."""
