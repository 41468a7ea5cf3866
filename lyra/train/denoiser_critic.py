"""A critic that keeps few steps from being soft: it tells true latents from made ones and pushes the latter (GAN).

A network that makes a clip in a few steps with a squared error alone gives the mean of all clips that are possible,
which is soft. Here a small convolutional network judges patches of latents beside what was given (warp and mask), is
trained with the hinge loss under spectral normalisation (Miyato et al. 2018), and its judgement is added to the loss
of the few steps, as in adversarial diffusion distillation (Sauer et al. 2023; in latents: Sauer et al. 2024).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from lyra.teacher.codec import SIGMA_DATA
from lyra.train.latents import Latents
from lyra.train.processes import Processes

ALONE, RISE = 100, 200  # steps in which only the critic learns, and in which its weight then rises


class CriticNetwork(nn.Module):
    """Latents beside warp and mask to judgements of overlapping patches: above 0 for true ones."""

    def __init__(self, channels: int, given: int, width: int) -> None:
        super().__init__()
        layers = (
            nn.Conv3d(channels + given, width, (1, 3, 3), padding=(0, 1, 1)),
            nn.Conv3d(width, 2 * width, 3, (1, 2, 2), 1),
            nn.Conv3d(2 * width, 2 * width, 3, padding=1),
            nn.Conv3d(2 * width, 1, 1),
        )
        self.layers = nn.ModuleList(spectral_norm(layer) for layer in layers)

    def forward(self, latents: Float[Tensor, "b c t h w"], batch: Latents) -> Float[Tensor, "b 1 t h2 w2"]:
        x = torch.cat([latents / SIGMA_DATA, batch.warp / SIGMA_DATA, batch.mask / SIGMA_DATA], 1)
        for layer in self.layers[:-1]:
            x = functional.leaky_relu(layer(x), 0.2)
        return self.layers[-1](x)


class Critic:
    """The network, its optimiser, and how many steps it has learnt. Computes in float32, also within autocast.

    `weight` 1 lets the push on the made latents be as large as that of the squared error against the true ones.
    """

    def __init__(self, network: CriticNetwork, weight: float, rate: float) -> None:
        self.network, self.weight, self.step = network, weight, 0
        self.optimizer = torch.optim.AdamW(network.parameters(), rate, betas=(0.0, 0.99), weight_decay=0.01)

    def term(self, made: Float[Tensor, "b c t h w"], batch: Latents, error: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """What is added to the loss; `error` is that of `made` against the true latents, which sets the scale.

        The scale is taken at the latents and not from the error that is minimised: that one vanishes where few steps
        do the same as many, and the push with it.
        """
        with torch.autocast(made.device.type, enabled=False):
            self.network.requires_grad_(False)
            dislike = -self.network(made.float(), batch).mean()
            self.network.requires_grad_(True)
            aim, push = (torch.autograd.grad(x, made, retain_graph=True)[0].norm() for x in (error, dislike))
            rise = min(1.0, max(0.0, (self.step - ALONE) / RISE))
            return self.weight * rise * (aim / push.clamp_min(1e-12)).detach() * dislike

    def learn(self, made: Float[Tensor, "b c t h w"], batch: Latents, processes: Processes) -> Float[Tensor, ""]:
        """One update on true and made latents; returns the hinge loss: 2 knows nothing, 0 is never wrong."""
        with torch.autocast(made.device.type, enabled=False):
            true, false = self.network(batch.target, batch), self.network(made.detach().float(), batch)
            loss = functional.relu(1 - true).mean() + functional.relu(1 + false).mean()
            loss.backward()
        gradients = [parameter.grad for parameter in self.network.parameters()]
        processes.average(gradients)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.detach()

    def state_dict(self) -> dict:
        """Everything needed to go on."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}

    def load_state_dict(self, state: dict) -> None:
        """The inverse of `state_dict`."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
