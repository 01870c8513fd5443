"""Where models come from; its doors are `models.load` and `wrapping.wrap`."""
