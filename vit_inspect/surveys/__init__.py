"""What do the heads do over many pictures? A manifest, chunks of rows on disk, and their spread."""
