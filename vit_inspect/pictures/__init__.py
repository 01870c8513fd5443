"""Photographs: from a stranger's bytes to RGB, from RGB to the model input, and back again."""
