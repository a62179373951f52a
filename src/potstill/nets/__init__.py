"""Classifiers that take RGB images in [0, 1] and normalise them themselves, and the one training loop."""

from potstill.core.table import Table

NETS = Table("net", {"convnet": "potstill.nets.convnet:ConvNet", "resnet": "potstill.nets.resnet:ResNet"})
"""Kinds of net.

A kind is an `nn.Module` class with the class attributes `title`, `depths`, `stems` and `usual_width`, which
`potstill.nets.spec.Net` reads, the constructor `(*, depth, width, stem, classes, size)`, a last layer
`head` (Linear), `embed(images)` (what `head` sees) and `initialise(generator)`, which sets all values.
"""
