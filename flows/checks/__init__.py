"""What is looked at without an alert: a file for each check, which says all of itself, and what they share."""
