"""What an incident's journal says, and what follows from it: the record."""
