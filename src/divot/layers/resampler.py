"""The Perceiver Resampler: any number of tokens in, a fixed number of tokens out.

Letters: B batch, M tokens in, N tokens out, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from divot.layers.attention import attend, start_alike


class PerceiverAttention(nn.Module):
    """Latents attend to the input and to themselves."""

    def __init__(self, width: int, num_heads: int, head_width: int) -> None:
        super().__init__()
        inner = num_heads * head_width
        self.num_heads = num_heads
        self.norm_input = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(width, 2 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        start_alike(self.query.weight, self.key_value.weight)
        # A latent's own key would match it best of all: the input has to speak louder.
        nn.init.constant_(self.norm_input.weight, 2.0)

    def forward(self, x_BMD: Tensor, latents_BND: Tensor) -> Tensor:
        """Input [B, M, D] and latents [B, N, D] to [B, N, D]."""
        latents_BND = self.norm_latents(latents_BND)
        key, value = self.key_value(torch.cat([self.norm_input(x_BMD), latents_BND], dim=1)).chunk(2, dim=-1)
        return self.out(attend(self.query(latents_BND), key, value, self.num_heads))


class PerceiverLayer(nn.Module):
    """Perceiver attention and a feed-forward network without biases, each with a residual."""

    def __init__(self, width: int, num_heads: int, head_width: int) -> None:
        super().__init__()
        self.attention = PerceiverAttention(width, num_heads, head_width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width, bias=False),
            nn.GELU(),
            nn.Linear(4 * width, width, bias=False),
        )

    def forward(self, x_BMD: Tensor, latents_BND: Tensor) -> Tensor:
        """Input [B, M, D] and latents [B, N, D] to latents [B, N, D]."""
        latents_BND = latents_BND + self.attention(x_BMD, latents_BND)
        return latents_BND + self.feed_forward(latents_BND)


class PerceiverResampler(nn.Module):
    """Learned latents read the input, layer by layer, and leave as tokens.

    Args:
        input_width: width of the tokens in.
        width: inner width.
        depth: number of layers.
        num_heads: heads of each attention.
        head_width: width of one head; heads times head width need not equal `width`.
        num_queries: number of tokens out.
        output_width: width of the tokens out.
        places_ND: where the latents begin, [num_queries, width]; None begins with random ones.
        input_places_MD: where the tokens in are, [M, width]: each gets a learned position that begins there, and only
            M tokens can be read; None gives them no positions.

    Source: Flamingo's resampler as Divot uses it (arXiv 2412.04432, appendix A.1).
    """

    def __init__(
        self,
        input_width: int,
        width: int,
        depth: int,
        num_heads: int,
        head_width: int,
        num_queries: int,
        output_width: int,
        places_ND: Tensor | None = None,
        input_places_MD: Tensor | None = None,
    ) -> None:
        super().__init__()
        if places_ND is None:
            places_ND = torch.randn(num_queries, width) / width**0.5
        self.latents = nn.Parameter(places_ND.clone())
        self.input_positions = None if input_places_MD is None else nn.Parameter(input_places_MD.clone())
        self.proj_in = nn.Linear(input_width, width)
        self.layers = nn.ModuleList(PerceiverLayer(width, num_heads, head_width) for _ in range(depth))
        self.proj_out = nn.Linear(width, output_width)
        self.norm_out = nn.LayerNorm(output_width)
        for layer in (self.proj_in, self.proj_out):
            # Places pass unchanged where they can.
            if layer.in_features == layer.out_features and not layer.weight.is_meta:
                nn.init.eye_(layer.weight)

    def forward(self, x_BMD: Tensor) -> Tensor:
        """[B, M, input_width] to [B, num_queries, output_width]."""
        x_BMD = self.proj_in(x_BMD)
        if self.input_positions is not None:
            x_BMD = x_BMD + self.input_positions
        latents_BND = self.latents.expand(x_BMD.shape[0], -1, -1)
        for layer in self.layers:
            latents_BND = layer(x_BMD, latents_BND)
        return self.norm_out(self.proj_out(latents_BND))
