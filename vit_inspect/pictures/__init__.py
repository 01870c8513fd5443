"""Photographs: from untrusted bytes to RGB, from RGB to the model input, and back."""
