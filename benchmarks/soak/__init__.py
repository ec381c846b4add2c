"""Long runs: commands that are killed again and again, and a million translated steps."""
