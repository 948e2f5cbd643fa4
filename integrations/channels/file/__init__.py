"""Messages into a folder."""
