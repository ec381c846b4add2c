"""How good few steps are, by every way of making them good."""
