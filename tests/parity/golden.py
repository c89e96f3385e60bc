"""A golden folder: what was recorded, of which kind it is, and how far from it a value may be."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from parity.redraw import WEIGHT, drawn_weights, weights_hash


@dataclass(frozen=True)
class Row:
    """One recorded output against ours."""

    golden: str
    output: str
    error: float
    """Largest difference."""
    tolerance: float = 0.0

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance

    def line(self) -> str:
        start = f"{self.golden:<14} {self.output:<68}"
        return f"{start} {self.error:>10.2e} {self.tolerance:>10.2e} {'ok' if self.ok else 'BEYOND'}"


def golden_folders(root: Path) -> list[Path]:
    """Every golden folder in `root` (or `root` itself), the manifest left out."""
    if (root / "meta.json").is_file():
        return [root]
    return sorted(path.parent for path in root.glob("*/meta.json"))


def kind_of(meta: dict[str, Any]) -> str | None:
    """The kind, by what is recorded; None: unknown."""
    config, name = meta.get("config") or {}, str(meta.get("name", ""))
    if "layers" in meta:
        return "norm_eps"
    if "rows" in meta:
        return "clips"
    if "num_visual_tokens_hardcoded" in meta or name.startswith("llm_masks"):
        return "llm_masks"
    signs = (
        ("detokenizer", {"video_tokenizer", "diffusion_model"}),
        ("ddim", {"unet", "runs"}),
        ("unet", {"unet"}),
        ("vae", {"vae"}),
        ("tokenizer", {"vit", "tokenizer"}),
        ("schedule", {"linear_start", "linear_end"}),
        ("llm", {"mistral"}),
        ("gmm", {"var_scales", "cases"}),
    )
    return next((kind for kind, keys in signs if keys <= config.keys()), None)


@dataclass
class Golden:
    """Recorded configuration and tensors."""

    name: str
    meta: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Golden:
        meta = json.loads((folder / "meta.json").read_text())
        path = folder / "tensors.safetensors"
        tensors = load_file(path) if path.is_file() else {}
        if "weights_sha256" in meta:
            drawn = drawn_weights(meta)
            if weights_hash(drawn) != meta["weights_sha256"]:
                pytest.fail(
                    f"{folder}: the weights drawn from seed {meta['config']['seed']} are not the recorded ones (their "
                    "hash differs), so nothing of this golden can be compared; see tests/parity/redraw.py",
                    pytrace=False,
                )
            tensors |= {WEIGHT + name: tensor for name, tensor in drawn.items()}
        return cls(folder.name, meta, tensors)

    @property
    def kind(self) -> str | None:
        return kind_of(self.meta)

    @property
    def config(self) -> dict[str, Any]:
        return self.meta["config"]

    def weights(self, prefix: str = "") -> dict[str, Tensor]:
        """Official weights whose name begins so, without that prefix, in float32."""
        return self._part(f"weight/{prefix}", torch.float32)

    def inputs(self) -> dict[str, Tensor]:
        return self._part("input/")

    def outputs(self) -> dict[str, Tensor]:
        return self._part("output/")

    def _part(self, prefix: str, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        found = {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}
        return {k: v.to(dtype) if dtype and v.is_floating_point() else v for k, v in found.items()}

    def tolerance(self, output: str) -> float:
        """Ten times the rounding noise of the official code, and never less than float32 can promise."""
        noise = (self.meta.get("f32_vs_f64_maxabs") or {}).get(output, 0.0)
        # Scores that are ruled out are minus infinity.
        recorded = self.tensors[f"output/{output}"]
        size = recorded[recorded.isfinite()].abs().max().item()
        return max(10 * noise, 2e-5 * max(1.0, size))

    def compare(self, output: str, ours: Tensor, tolerance: float | None = None) -> Row:
        """Our value against the recorded one, in float64; whole numbers have to be equal.

        A tolerance given is relative to values above one, element by element.
        """
        recorded = self.tensors[f"output/{output}"]
        if ours.shape != recorded.shape:
            return Row(self.name, output, float("inf"))
        if not recorded.is_floating_point():
            tolerance = 0.0
        ours, recorded = ours.double(), recorded.double()
        # Equal infinities (a reciprocal of nothing) differ by nothing.
        difference = torch.where(ours == recorded, 0.0, (ours - recorded).abs())
        if tolerance is not None:
            difference = difference / recorded.abs().nan_to_num(posinf=1.0).clamp(min=1.0)
        error = difference.max().item() if difference.numel() else 0.0
        error = float("inf") if error != error else error
        return Row(self.name, output, error, self.tolerance(output) if tolerance is None else tolerance)

    def unlisted(self, rows: list[Row]) -> list[str]:
        """Recorded outputs that `rows` says nothing about."""
        return sorted(self.outputs().keys() - {row.output for row in rows})
