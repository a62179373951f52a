"""What is optimised, and how it becomes images: one canvas a file."""

from potstill.canvas.canvas import Canvas as Canvas
from potstill.canvas.canvas import Learned as Learned
from potstill.canvas.canvas import Surface as Surface
from potstill.core.table import Table

CANVASES = Table(
    "canvas",
    {
        "pixels": "potstill.canvas.pixels:Pixels",
        "latents": "potstill.canvas.latents:Latents",
        "chain": "potstill.canvas.chain:Chain",
        "gan-code": "potstill.canvas.gan_code:GanCode",
    },
)
