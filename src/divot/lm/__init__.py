"""Text and tokens to text or tokens: so far the head that writes tokens."""
