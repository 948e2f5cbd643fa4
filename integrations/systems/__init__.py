"""What we act on, one folder each. What an outsider touches of a system is its folder and the line in `registry`."""
