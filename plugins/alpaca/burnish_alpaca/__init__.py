"""Instructions with an optional input, and an output or a preference: the Alpaca form."""
