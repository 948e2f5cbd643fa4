"""Who is told what, in which words, by when; and what people sign."""
