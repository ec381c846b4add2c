"""Transfer between robots: translators against every honest alternative, on many targets."""
