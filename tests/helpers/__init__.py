"""What tests share: models and captures made by hand, oracles, tables of architectures."""
