"""What to try next: space, objective, halving, coordinator, store, resume and promotion."""
