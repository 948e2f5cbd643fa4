"""Text of our own and of others: what it shows, hides, means in another language, and where it differs."""
