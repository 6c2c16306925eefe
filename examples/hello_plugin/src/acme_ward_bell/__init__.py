"""Ward bell: greets, counts, and tells others."""
