"""Classifiers that take RGB images in [0, 1] and normalise them themselves, and the one training loop."""

from potstill.core.table import Table

NETS = Table(
    "net",
    {
        "convnet": "potstill.nets.convnet:ConvNet",
        "resnet": "potstill.nets.resnet:ResNet",
        "resnetap": "potstill.nets.resnetap:ResNetAP",
        "alexnet": "potstill.nets.alexnet:AlexNet",
        "vgg": "potstill.nets.vgg:VGG",
        "vit": "potstill.nets.vit:ViT",
    },
)
"""Kinds of net.

A kind is an `nn.Module` class with the class attributes `title`, `depths`, `stems`, `norms`, `usual_depth` (None
where a depth must be named) and `usual_width`, which `potstill.nets.spec.Net` reads, the constructor
`(*, depth, width, stem, norm, classes, size)`, a last layer `head` (Linear), `embed(images)` (what `head` sees) and
`initialise(generator)`, which sets all values.
"""
