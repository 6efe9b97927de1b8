"""Networks with 8-bit numbers in them: to be trained, and as integers to be exported."""
