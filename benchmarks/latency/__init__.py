"""Time of an action beside the quality of its samples, as ratios to a plain implementation within one run."""
