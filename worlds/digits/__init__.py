"""The digits world: real handwritten digits and small models of them."""
