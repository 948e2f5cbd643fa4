"""What there is to protect, where it stands, and what it is called."""
