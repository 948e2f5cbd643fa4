"""The part of the loop that is about people: who is told, who is asked, and by when."""
