"""potstill distills a large labelled image set into a few images per class."""
