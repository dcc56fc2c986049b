"""``tilewright bench``: Tilewright beside other programs that run the same networks."""
