"""The forward pass, seen: what every softmax was computed from, gradients, and what changes it."""
