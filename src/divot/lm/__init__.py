"""Text and tokens to text or tokens: so far its heads and its mask."""
