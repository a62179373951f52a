"""The exact world: a Gaussian mixture whose denoiser, score and guided shift are closed form."""

from types import SimpleNamespace

import torch
from diffusers import DDIMScheduler

from potstill.priors import Condition, Prior

SCHEDULE = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "clip_sample": False}


class Mixture(Prior):
    """Equal parts of N(mean_k, spread^2 I) in R^[c,h,w]; pixels are latents."""

    def __init__(self, means, spread, prediction="epsilon", **schedule):
        scheduler = DDIMScheduler(**SCHEDULE | {"prediction_type": prediction} | schedule)
        self.pipe = SimpleNamespace(scheduler=scheduler)
        self.alphas_cumprod = scheduler.alphas_cumprod.float()
        self.means, self.spread = means, spread
        self.encode = self.decode = lambda latents: latents

    device = torch.device("cpu")
    size = 1

    @property
    def latent_shape(self):
        return tuple(self.means.shape[1:])

    def posterior(self, x_t, alpha_bar, only=None):
        """Responsibilities [n, k] and E[x0 | x_t, k] [n, k, c, h, w], in the dtype of x_t."""
        means = self.means.to(x_t)
        a, variance = alpha_bar, alpha_bar * self.spread**2 + 1 - alpha_bar
        away = x_t[:, None] - a**0.5 * means
        logits = -(away.flatten(2) ** 2).sum(2) / (2 * variance)
        each = means + a**0.5 * self.spread**2 / variance * away
        return logits.softmax(1), each

    def clean(self, x_t, alpha_bar):
        weights, each = self.posterior(x_t, alpha_bar)
        return (weights[:, :, None, None, None] * each).sum(1)

    def predict(self, x_t, t, condition):
        a = float(self.pipe.scheduler.alphas_cumprod[int(t[0])])
        rows = condition.values["class"]
        weights, each = self.posterior(x_t, a)
        mixed = (weights[:, :, None, None, None] * each).sum(1)
        picked = each[torch.arange(len(x_t)), rows.clamp_min(0)]
        x0 = torch.where((rows < 0)[:, None, None, None], mixed, picked)
        epsilon = (x_t - a**0.5 * x0) / (1 - a) ** 0.5
        kind = self.pipe.scheduler.config.prediction_type
        return {"sample": x0, "epsilon": epsilon, "v_prediction": a**0.5 * epsilon - (1 - a) ** 0.5 * x0}[
            kind
        ]

    def blank(self, count):
        return Condition({"class": torch.zeros(count, dtype=torch.int64)})

    def condition(self, requests):
        return Condition({"class": torch.tensor([int(request.key) for request in requests])})

    def null_condition(self, condition):
        return Condition({"class": torch.full_like(condition.values["class"], -1)})


def unconditional(n):
    return Condition({"class": torch.full((n,), -1)})
