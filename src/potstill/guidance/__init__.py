"""Terms that bend a denoiser: (noisy latent, timestep, clean latent) to clean latent."""

from potstill.guidance.terms import Bound as Bound
from potstill.guidance.terms import Denoiser as Denoiser
from potstill.guidance.terms import GuidedDenoiser as GuidedDenoiser
from potstill.guidance.terms import Moment as Moment
from potstill.guidance.terms import Targets as Targets
from potstill.guidance.terms import Term as Term
from potstill.guidance.terms import guided as guided
