"""A translated arm at 1 kHz, and the deadlines that its loop misses."""
