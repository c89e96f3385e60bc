"""The full-size models: every name and shape of the released files has its place in ours, and back."""

import gzip
import json

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from transformers import PreTrainedTokenizerFast

from divot.config.presets import preset
from divot.detokenizer import VideoDetokenizer
from divot.lm.model import DivotLM
from divot.tokenizer import VideoTokenizer
from divot.weights.names import Entry, to_ours, to_theirs
from divot.weights.official_llm_names import AGENT_LLM, agent_names
from divot.weights.official_names import (
    CLIP_REST,
    CLIP_REST_NAMES,
    SCHEDULE_BUFFERS,
    detokenizer_names,
    tokenizer_names,
)
from parity.conftest import COMMITTED, golden_root

LEFT_OVERS = {f"{CLIP_REST}.{name}" for name in CLIP_REST_NAMES}


@pytest.fixture(scope="module")
def manifest(request):
    def read(name: str) -> dict:
        for root in (golden_root(request.config), COMMITTED):
            path = root / "manifest" / f"{name}.json"
            if path.is_file():
                return json.loads(path.read_text())
            if (packed := path.with_name(f"{path.name}.gz")).is_file():
                return json.loads(gzip.decompress(packed.read_bytes()))
        raise AssertionError(f"no {name}")

    return read


@pytest.fixture(scope="module")
def tokenizer():
    with torch.device("meta"):
        return VideoTokenizer(preset("paper").tokenizer)


@pytest.fixture(scope="module")
def detokenizer():
    with torch.device("meta"):
        return VideoDetokenizer(preset("paper").detokenizer)


@pytest.fixture(scope="module")
def language_model():
    words = Tokenizer(WordLevel({f"w{index}": index for index in range(32000)}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w1", eos_token="w2")
    with torch.device("meta"):
        return DivotLM.new(preset("paper").lm, tokenizer)


def empty(shapes: dict) -> dict[str, torch.Tensor]:
    return {name: torch.empty(v["shape"], device="meta") for name, v in shapes.items()}


def both_ways(module: nn.Module, entries: list, theirs: dict[str, torch.Tensor], ignored: set[str]) -> None:
    ours = {k: v for k, v in module.state_dict().items() if k != "null_tokens"}
    renamed = to_ours(entries, theirs, {k: v.shape for k, v in ours.items()})
    assert not renamed.missing
    assert not renamed.misshapen
    assert set(renamed.unexpected) == ignored
    assert {k: v.shape for k, v in renamed.tensors.items()} == {k: v.shape for k, v in ours.items()}
    back = to_theirs(entries, ours)
    assert not back.missing
    assert not back.unexpected
    wanted = {k: v.shape for k, v in theirs.items() if k not in ignored}
    assert {k: v.shape for k, v in back.tensors.items()} == wanted


def test_tokenizer_names_are_complete(manifest, tokenizer):
    recorded = manifest("manifest_tokenizer")
    config = preset("paper").tokenizer
    both_ways(tokenizer, tokenizer_names(config), empty(recorded["with_vit"]), LEFT_OVERS)


def test_tokenizer_names_without_the_image_tower_are_complete(manifest):
    recorded = manifest("manifest_tokenizer")
    entries = tokenizer_names(preset("paper").tokenizer, has_vit=False)
    assert {entry.theirs for entry in entries} == recorded["without_vit"].keys()


def test_detokenizer_names_are_complete(manifest, detokenizer):
    state = manifest("manifest_detokenizer")["state_dict"]
    copy = {name for name in state if name.startswith("video_tokenizer.")}
    with_copy = {f"video_tokenizer.{name}" for name in manifest("manifest_tokenizer")["with_vit"]}
    assert copy == with_copy
    both_ways(
        detokenizer,
        detokenizer_names(preset("paper").detokenizer),
        empty(state),
        copy | set(SCHEDULE_BUFFERS),
    )


def test_language_model_names_are_complete(manifest, language_model):
    recorded = manifest("manifest_agent")
    llm = {AGENT_LLM + name: shape for name, shape in recorded["llm_state_dict"].items()}
    own = nn.ModuleDict({part: getattr(language_model, part) for part in ("input_projection", "head")})
    both_ways(own, agent_names(), empty(recorded["state_dict"]), set())
    backbone = nn.ModuleDict({"backbone": language_model.backbone})
    names = [Entry(name, (f"backbone.{name.removeprefix(AGENT_LLM)}",)) for name in llm]
    both_ways(backbone, names, empty(llm), set())


def test_full_size_language_model_has_the_official_parameter_counts(manifest, language_model):
    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    counts = manifest("manifest_agent")["parameter_counts"]
    assert count(language_model.input_projection) == counts["input_resampler"]
    assert count(language_model.head) == counts["output_resampler"]
    assert count(language_model.backbone) == counts["llm_vocab32262"]
    assert count(language_model) == counts["agent_without_llm"] + counts["llm_vocab32262"]


def test_full_size_parameter_counts_are_the_official_ones(manifest, tokenizer, detokenizer):
    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    counts = manifest("manifest_detokenizer")["parameter_counts"]
    assert count(detokenizer.unet) == counts["diffusion_model"]
    assert count(detokenizer.vae) == counts["first_stage_model"]
    assert count(detokenizer.projector) == counts["image_proj_model"]
    parts = manifest("manifest_tokenizer")["parameter_counts"]
    assert count(tokenizer.temporal) == parts["temporal_encoder"]
    assert count(tokenizer.resampler) == parts["image_proj_model.down_sampler"]


def test_full_size_layer_settings_are_the_official_ones(manifest, tokenizer, detokenizer):
    ours_of = {e.theirs: e.ours[0] for e in detokenizer_names(preset("paper").detokenizer)}
    pairs = [(f"video_tokenizer.{e.theirs}", e.ours[0]) for e in tokenizer_names(preset("paper").tokenizer)]
    norms = 0
    for path, settings in manifest("layer_settings").items():
        if not settings.get("eps") or path.endswith(f"{CLIP_REST}.ln_final"):
            continue
        name = f"{path}.weight"
        in_tokenizer = dict(pairs).get(name) if path.startswith("video_tokenizer.") else None
        module = tokenizer if in_tokenizer else detokenizer
        layer = module.get_submodule((in_tokenizer or ours_of[name]).removesuffix(".weight"))
        assert layer.eps == settings["eps"], path
        assert getattr(layer, "num_groups", None) == settings["groups"], path
        norms += 1
    assert norms > 400


def test_full_size_attention_heads_are_the_official_ones(manifest, tokenizer, detokenizer):
    official = manifest("layer_settings")
    assert tokenizer.config.vit.num_heads == next(
        v["num_heads"] for k, v in official.items() if "vit_model" in k and "num_heads" in v
    )
    counts = {"heads": [], "ours": []}
    for entry in detokenizer_names(preset("paper").detokenizer):
        path = entry.theirs.removesuffix(".to_q.weight")
        if path != entry.theirs and path in official:
            counts["heads"].append(official[path]["heads"])
            counts["ours"].append(
                detokenizer.get_submodule(entry.ours[0].removesuffix(".query.weight")).num_heads
            )
    assert counts["heads"] == counts["ours"]
    assert len(counts["heads"]) > 60
