"""How alike synthetic and real are, as one scalar: one objective a file."""
