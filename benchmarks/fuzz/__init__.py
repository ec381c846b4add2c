"""Broken and hostile files for everything that the library reads."""
