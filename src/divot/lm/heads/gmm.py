"""The Gaussian mixture head: each token's distribution, predicted from the hidden state of its query.

Letters: B batch of clips, N tokens, M mixture components, D width of a token, H width of the hidden states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from divot.lm.chance import Chance, choices, normals

MIN_VARIANCE = 1e-5
"""Floor under a predicted variance: a component on top of a token would have an infinite density."""
# A component temperature as low as this leaves the heaviest one alone, and would make numbers that are too large.
_COLDEST = 1e-6


@dataclass(frozen=True)
class Mixture:
    """A mixture of diagonal Gaussians for each token, in float32.

    Source: Divot (arXiv 2412.04432), appendix A.2.
    """

    logits: Tensor
    """[B, N, M]: weights of the components before the softmax."""
    means: Tensor
    """[B, N, M, D]."""
    variances: Tensor
    """[B, N, M, D]."""

    @classmethod
    def from_parameters(cls, parameters: Tensor, num_components: int, added_variance: float = 0.0) -> Mixture:
        """Split what the head's last layer gives.

        Args:
            parameters: [B, N, 2 * M * D + M]: means, raw variances, logits, in the order of the released weights.
            num_components: M.
            added_variance: to each of the predicted ones, in squared units of the tokens.

        Raises:
            ValueError: if the last axis is not of that form.
        """
        size = parameters.shape[-1]
        width, rest = divmod(size - num_components, 2 * num_components)
        if rest or width < 1:
            raise ValueError(
                f"parameters: got a last axis of {size}, wanted 2 * M * D + M with M = {num_components}"
            )
        count = num_components * width
        means, raw, logits = parameters.float().split([count, count, num_components], dim=-1)
        variances = F.softplus(raw).clamp(min=MIN_VARIANCE) + added_variance
        shape = (num_components, width)
        return cls(logits, means.unflatten(-1, shape), variances.unflatten(-1, shape))

    def scaled(self, var_scale: float = 1.0, component_temperature: float = 1.0) -> Mixture:
        """The same mixture, sharper or broader.

        Args:
            var_scale: factor on the variances, 0 or more; the official generation takes 0.1.
            component_temperature: 0 or more; small values leave the heaviest component, 0 nothing else.

        Raises:
            ValueError: if one is out of range.
        """
        if var_scale < 0:
            raise ValueError(f"var_scale: got {var_scale}, wanted 0 or more")
        if component_temperature < 0:
            raise ValueError(f"component_temperature: got {component_temperature}, wanted 0 or more")
        if component_temperature > _COLDEST:
            logits = self.logits / component_temperature
        else:
            is_heaviest = F.one_hot(self.logits.argmax(dim=-1), self.logits.shape[-1]).bool()
            logits = torch.zeros_like(self.logits).masked_fill(~is_heaviest, float("-inf"))
        # The root of a product that is 0 would pass back a gradient that is no number.
        variances = self.variances * var_scale if var_scale > 0 else torch.zeros_like(self.variances)
        return replace(self, logits=logits, variances=variances)

    def nll(self, tokens_BND: Tensor) -> Tensor:
        """Negative log-likelihood of tokens: nats per dimension, averaged over B and N.

        Raises:
            ValueError: if the tokens are not of the mixture's shape.
        """
        wanted = (*self.means.shape[:2], self.means.shape[-1])
        if tuple(tokens_BND.shape) != wanted:
            raise ValueError(f"tokens have shape {tuple(tokens_BND.shape)}, wanted {wanted}")
        return -self.log_density(tokens_BND).mean() / wanted[-1]

    def log_density(self, tokens: Tensor) -> Tensor:
        """Of tokens [..., B, N, D]: log-density [..., B, N]."""
        distance = (tokens.float()[..., None, :] - self.means).pow(2) / self.variances
        log_density = -0.5 * (distance + self.variances.log() + math.log(2 * math.pi)).sum(dim=-1)
        return (self.logits.log_softmax(dim=-1) + log_density).logsumexp(dim=-1)

    def guided(
        self, other: Mixture, candidates_KBND: Tensor, scale: float, generator: Chance = None
    ) -> Tensor:
        """One of K candidates for each token [B, N, D]: those drawn from this mixture that are likelier here than in
        another, as classifier-free guidance wants it.

        A product of powers of mixtures is no mixture that could be drawn from. Draws of this one, p, chosen with
        weights (p / q)^(scale - 1) among them, are near to draws of p^scale / q^(scale - 1).

        Args:
            other: q: what is predicted without the words.
            candidates_KBND: draws of this mixture.
            scale: 1 chooses among them as they come.
            generator: chance of the choice.
        """
        gain_KBN = self.log_density(candidates_KBND) - other.log_density(candidates_KBND)
        weights_KBN = ((scale - 1) * gain_KBN).softmax(dim=0).cpu()
        chosen_BN1 = choices(weights_KBN.permute(1, 2, 0), 1, generator)
        index = chosen_BN1.to(candidates_KBND.device)[None]
        return candidates_KBND.gather(0, index.expand(1, *candidates_KBND.shape[1:]))[0]

    def mean(self) -> Tensor:
        """Expected tokens [B, N, D]: all components, weighted."""
        return (self.logits.softmax(dim=-1)[..., None] * self.means).sum(dim=2)

    def top_component(self) -> Tensor:
        """Mean [B, N, D] of each token's heaviest component."""
        return _picked(self.means, self.logits.argmax(dim=-1))

    def sample(self, generator: Chance = None) -> Tensor:
        """One draw [B, N, D]: a component for each token by itself, then a point in it."""
        return self.samples(1, generator)[0]

    def samples(self, count: int, generator: Chance = None) -> Tensor:
        """K draws [K, B, N, D], see `sample`.

        Args:
            count: K.
            generator: chance of the draws.
        """
        batch, num_tokens, _, width = self.means.shape
        component_BNK = choices(self.logits.softmax(dim=-1).cpu(), count, generator)
        noise_BKND = normals(batch, (count, num_tokens, width), generator)
        device = self.means.device
        drawn = zip(component_BNK.unbind(-1), noise_BKND.unbind(1), strict=True)
        return torch.stack([self.point(component.to(device), noise.to(device)) for component, noise in drawn])

    def point(self, component_BN: Tensor, noise_BND: Tensor) -> Tensor:
        """The point [B, N, D] that a component and a standard normal draw stand for."""
        mean, variance = (_picked(x, component_BN) for x in (self.means, self.variances))
        return mean + variance.sqrt() * noise_BND


def _picked(values_BNMD: Tensor, component_BN: Tensor) -> Tensor:
    index = component_BN[..., None, None].expand(-1, -1, 1, values_BNMD.shape[-1])
    return values_BNMD.gather(2, index).squeeze(2)


class GaussianMixtureHead(nn.Module):
    """Two fully connected layers from hidden states to the parameters of a mixture.

    Args:
        hidden_width: H.
        token_width: D.
        num_components: M; 16 in the paper.
        added_variance: to each of the predicted ones. A mixture that may be as narrow as it likes is taught by the
            smallest differences between tokens, beside which what the words say weighs nothing.

    Source: Divot (arXiv 2412.04432), appendix A.2.
    """

    def __init__(
        self, hidden_width: int, token_width: int, num_components: int = 16, added_variance: float = 0.0
    ) -> None:
        super().__init__()
        self.num_components, self.added_variance = num_components, added_variance
        size = 2 * num_components * token_width + num_components
        self.layers = nn.Sequential(nn.Linear(hidden_width, size), nn.GELU(), nn.Linear(size, size))

    def forward(self, hidden_BNH: Tensor) -> Mixture:
        """Hidden states of the queries [B, N, H] to the mixture of each token."""
        return Mixture.from_parameters(self.layers(hidden_BNH), self.num_components, self.added_variance)

    def loss(self, hidden_BNH: Tensor, tokens_BND: Tensor) -> Tensor:
        """Scalar: negative log-likelihood of the tokens, see `Mixture.nll`."""
        return self(hidden_BNH).nll(tokens_BND)

    def mean(self, hidden_BNH: Tensor) -> Tensor:
        """Expected tokens [B, N, D]."""
        return self(hidden_BNH).mean()

    def sample(
        self,
        hidden_BNH: Tensor,
        generator: Chance = None,
        var_scale: float = 1.0,
        component_temperature: float = 1.0,
    ) -> Tensor:
        """One draw [B, N, D]; settings as `Mixture.scaled`."""
        return self(hidden_BNH).scaled(var_scale, component_temperature).sample(generator)
