"""The variational bound that trains the variance a diffusion network has learned to predict."""

import math

import torch
from torch import Tensor


def variance_table(betas: Tensor) -> Tensor:
    """What `variance_bound` reads of a noise schedule [T], float32 [T, 4].

    Of each timestep the logarithms of the most and the least variance, and the factors of the clean and the noisy
    latent in the mean of the step before. The least of t = 0, where it would be 0, is that of t = 1.
    """
    steps = betas.double()
    bars = (1 - steps).cumprod(0)
    before = torch.cat([bars.new_ones(1), bars[:-1]])
    least = (1 - before) / (1 - bars) * steps
    to_clean = before.sqrt() * steps / (1 - bars)
    to_noisy = (1 - steps).sqrt() * (1 - before) / (1 - bars)
    return torch.stack([steps.log(), torch.cat([least[1:2], least[1:]]).log(), to_clean, to_noisy], 1).float()


def variance_bound(raw: Tensor, x0: Tensor, clean: Tensor, x_t: Tensor, t: Tensor, table: Tensor) -> Tensor:
    """Bits per dimension that the learned variance costs at timesteps [n]: a vector [n].

    Source: Nichol and Dhariwal 2021 (arXiv:2102.09672), the terms of L_vlb and Eq. 15, as DiT is trained. `raw`
    [n, c, h, w] is what the network says of the variance, -1 for the least and 1 for the most; `x0` the clean latent it
    sees, taken as a constant, so that the term trains the variance alone; `table` is that of the schedule. At t = 0 it
    is the likelihood of `clean` in bins of 2/255 whose outermost are open, made for 8-bit pixels and kept for latents.
    Departs: the normal distribution is exact where the source's code approximates it.
    """
    most, least, to_clean, to_noisy = table[t][..., None, None, None].unbind(1)
    share = (raw + 1) / 2
    log_variance = share * most + (1 - share) * least
    mean, true = (to_clean * latents + to_noisy * x_t for latents in (x0.detach(), clean))
    apart = (true - mean).square() * (-log_variance).exp()
    divergence = 0.5 * (log_variance - least - 1 + (least - log_variance).exp() + apart)
    coded = _coded(clean, mean, log_variance)
    return torch.where(t == 0, coded.flatten(1).mean(1), divergence.flatten(1).mean(1)) / math.log(2)


def _coded(clean: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Nats of values under a normal distribution cut into bins of 2/255; the bins at -1 and 1 are open."""
    away, sharp = clean - mean, (-log_variance / 2).exp()
    below = torch.special.ndtr((away - 1 / 255) * sharp).masked_fill(clean < -0.999, 0.0)
    above = torch.special.ndtr((away + 1 / 255) * sharp).masked_fill(clean > 0.999, 1.0)
    return -(above - below).clamp(min=1e-12).log()
