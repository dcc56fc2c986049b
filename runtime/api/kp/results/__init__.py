"""Raw results: how devices lay them out, and what programs take from them."""
