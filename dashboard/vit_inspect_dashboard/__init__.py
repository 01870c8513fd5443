"""The dashboard of vit_inspect: its pages, and what they share."""
