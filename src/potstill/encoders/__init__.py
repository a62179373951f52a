"""Image and text into one space, differentiable from pixels."""

from potstill.encoders.clip import Encoder as Encoder
