"""The language model with its projections and head: losses, hidden states, logits, and both ways of generating."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import DynamicCache, MistralConfig, PreTrainedTokenizerFast

from divot.config.models import HeadConfig, LanguageModelConfig
from divot.lm.backbone import attention_mask, new_backbone
from divot.lm.batch import LanguageBatch, collate, padded_ids
from divot.lm.generate import Dialogue
from divot.lm.mask import official_block_ids
from divot.lm.model import DivotLM
from divot.lm.sampling import TextSampling, official_scores
from divot.text.sequence import Sequence
from divot.weights.names import Entry
from divot.weights.official_llm_names import agent_names
from parity.golden import Golden, Row
from parity.rebuild import load, strided

BACKBONE = "llm."
# Largest error of a sample given the recorded draws.
SAMPLES = 1e-5


def mask_of_mistral(values_BK: Tensor, num_rows: int, sliding_window: int | None) -> Tensor:
    """Where the last rows may look, by the mask that our model gives a backbone: bool [B, Q, K]."""
    config = MistralConfig(num_hidden_layers=1, sliding_window=sliding_window, attn_implementation="sdpa")
    count, total = values_BK.shape
    cache = DynamicCache()
    if total > num_rows:
        cached = torch.zeros(count, 1, total - num_rows, 1)
        cache.update(cached, cached, 0)
    blocks = official_block_ids(values_BK, num_rows)[:, -num_rows:]
    positions = torch.arange(total - num_rows, total).expand(count, -1)
    embeddings = torch.zeros(count, num_rows, 1)
    mask = attention_mask(config, embeddings, values_BK != 0, blocks, positions, cache)
    return mask[:, 0]


def rebuild_language_model(golden: Golden, attention: str = "sdpa") -> DivotLM:
    """Our model with the recorded weights."""
    recorded = golden.config
    width, count = recorded["d"], recorded["nq"]
    config = LanguageModelConfig(
        token_width=width, num_tokens=count, head=HeadConfig("gmm", num_components=recorded["k"])
    )
    settings = {"model_type": "mistral", **recorded["mistral"]}
    words = Tokenizer(WordLevel({"<s>": 0, "</s>": 1}, unk_token="</s>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
    model = DivotLM(config, new_backbone(settings), tokenizer)
    # The recorded vocabulary has fewer places than ours: it is taken as it was.
    model.backbone = new_backbone(settings)
    model.backbone.set_attn_implementation(attention)
    names = [
        Entry(BACKBONE + name, (f"backbone.{name}",)) for name in model.backbone.state_dict()
    ] + agent_names()
    statistics = {"token_mean": model.token_mean, "token_axes": model.token_axes}
    names += [Entry(name, (name,)) for name in statistics]
    load(model, names, golden.weights() | statistics)
    return model


def _batch(inputs: dict[str, Tensor], case: str) -> LanguageBatch:
    values = {k.removeprefix(f"{case}/"): v for k, v in inputs.items() if k.startswith(f"{case}/")}
    mask = values["attention_mask"]
    embeds = values["video_embeds"]
    return LanguageBatch(
        ids=values["input_ids"],
        labels=values["labels"],
        is_present=mask != 0,
        reads=values["ids_cmp_mask"],
        writes=values["ids_gen_mask"],
        positions=torch.arange(mask.shape[1]).expand_as(mask),
        blocks=official_block_ids(mask, mask.shape[1]),
        bare=torch.zeros_like(mask, dtype=torch.bool),
        said=padded_ids([]),
        read_tokens=embeds[values["embeds_cmp_mask"]],
        written_tokens=embeds[values["embeds_gen_mask"]],
    )


@torch.no_grad()
def check_llm(golden: Golden, attention: str = "sdpa") -> list[Row]:
    model = rebuild_language_model(golden, attention)
    return [
        *_check_batches(golden, model),
        *_check_video(golden, model),
        *_check_text(golden, model),
        *_check_processor(golden),
    ]


def _check_batches(golden: Golden, model: DivotLM) -> list[Row]:
    inputs, outputs, rows = golden.inputs(), golden.outputs(), []
    for case, usual in (("comp", 7), ("gen", 5)):
        batch = _batch(inputs, case)
        losses, hidden = model(batch), model.states(batch)
        logits = model.logits(hidden)
        scale = golden.config["agent"]["gmm_loss_scale"]
        values: dict[str, Tensor] = {
            "total_loss": (losses.text + scale * losses.video).view(1),
            "lm_loss": losses.text.view(1),
            "gmm_loss": losses.video.view(1),
            "last_hidden": hidden,
            "inputs_embeds": model.embed(batch),
        }
        if (name := f"{case}/logits_tail") in outputs:
            values["logits_tail"] = logits[:, -outputs[name].shape[1] :]
        values["logits_strided"] = strided(logits, outputs[f"{case}/logits_strided"].shape[1], 1, usual)
        if case == "gen":
            values["gmm_params"] = model.head.layers(model.query_states(hidden, batch))
        rows += [
            golden.compare(f"{case}/{name}", value)
            for name, value in values.items()
            if f"{case}/{name}" in outputs
        ]
    return rows


def _check_video(golden: Golden, model: DivotLM) -> list[Row]:
    inputs = golden.inputs()
    ids, mask = inputs["vidgen/input_ids"], inputs["vidgen/attention_mask"]
    empty = torch.zeros(0, *inputs["gen/video_embeds"].shape[2:])
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    writes = inputs["vidgen/ids_gen_mask"]
    blocks = official_block_ids(mask, mask.shape[1])
    places = torch.arange(mask.shape[1]).expand_as(mask)
    batch = LanguageBatch(
        ids, ids, mask != 0, nothing, writes, places, blocks, nothing, padded_ids([]), empty, empty
    )
    states = model.query_states(model.states(batch), batch)
    mixture = model.head(states).scaled(golden.config["var_scale"])
    component, noise = inputs["vidgen/component"], inputs["vidgen/eps"]
    return [
        golden.compare("vidgen/gmm_params", model.head.layers(states)),
        golden.compare("vidgen/features", mixture.point(component[None], noise[None]), SAMPLES),
    ]


def _recorded(ids: list[int], reads: list[bool]) -> Sequence:
    sequence = Sequence(clips_read=[0] if any(reads) else [])
    for id_, is_read in zip(ids, reads, strict=True):
        sequence.add([id_], reads=is_read)
    return sequence


def _check_text(golden: Golden, model: DivotLM) -> list[Row]:
    """The recorded draws are followed step by step, on our cache."""
    inputs, outputs = golden.inputs(), golden.outputs()
    said = outputs["txtgen/sequence"][0].tolist()
    reads = inputs["txtgen/ids_cmp_mask"][0].tolist()
    clips = list(inputs["txtgen/video_embeds"][0][inputs["txtgen/embeds_cmp_mask"][0]])
    # The official call names no top_k; transformers' default of 50 was in force.
    chain = TextSampling(temperature=0.7, top_k=50, top_p=0.5).processors()
    prompt = _recorded(said[: len(reads)], reads)
    first = model.states(_prompt_batch(model, prompt, clips))
    dialogue = Dialogue(model, [prompt], clips)
    scores = []
    for step, id_ in enumerate(said[len(reads) :]):
        so_far = torch.tensor([said[: len(reads) + step]])
        raw = official_scores(so_far, dialogue.next_scores(), _run(golden))
        scores.append(chain(so_far, raw)[0])
        dialogue.read([_recorded([id_], [False])])
    return [
        golden.compare("txtgen/first_step_last_hidden", first),
        golden.compare("txtgen/scores", torch.stack(scores)),
        golden.compare("txtgen/sequence", _redrawn(said, scores, len(reads))),
    ]


def _prompt_batch(model: DivotLM, prompt: Sequence, clips: list[Tensor]) -> LanguageBatch:
    return collate([prompt], clips, (), 0, (model.config.num_tokens, model.config.token_width))


def _redrawn(said: list[int], scores: list[Tensor], start: int) -> Tensor:
    """The recorded sequence, where each draw is one that our scores leave possible."""
    kept = said[:start]
    for id_, row in zip(said[start:], scores, strict=True):
        kept.append(id_ if bool(torch.isfinite(row[id_])) else -1)
    return torch.tensor([kept])


def _run(golden: Golden) -> list[int]:
    base, count = golden.config["vbase"], golden.config["nq"]
    return list(range(base, base + count + 2))


def _check_processor(golden: Golden) -> list[Row]:
    inputs = golden.inputs()
    ours = official_scores(inputs["proc/last_ids"], inputs["proc/scores"], _run(golden))
    return [golden.compare("proc/scores", ours)]
