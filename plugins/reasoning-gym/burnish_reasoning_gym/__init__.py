"""Questions whose answers can be checked, from the 100 generators of reasoning-gym: rows to train on, and rewards."""
