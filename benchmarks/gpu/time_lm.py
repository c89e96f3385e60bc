"""Time training steps of the language stage at a size that fills a GPU: encoded on the fly, from tokens, packed.

    python benchmarks/gpu/time_lm.py --out OUT [--width 2048] [--layers 16] [--batch-size 48] [--steps 8] [--smoke]

The tokenizer is that of the paper, the language model one of `width` and `layers`, both with random weights in
bfloat16. Sequences are those of Sprite World and laid out before, so that neither reading nor drawing is timed. Prints
samples a second, the share of positions that are padding and the most memory; writes OUT/time_lm.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from divot.config.files import write_json
from divot.config.language import LanguageConfig
from divot.config.models import TokenizerConfig
from divot.config.presets import preset
from divot.config.training import TrainConfig
from divot.data.tasks import LanguageDataset, LanguageSample, world_corpus
from divot.evaluation.run_info import hardware, now, versions
from divot.lm.model import DivotLM
from divot.text.pieces import learn_pieces
from divot.tokenizer import VideoTokenizer
from divot.train.lm_batch import MAX_GROUPS, TrainingBatch, to_training_batch
from divot.train.lm_stage import LanguageModule

PACKED_LENGTH = 2048
TASKS = {"caption": 1.0, "question": 1.0, "generation": 1.0}


def build(tokenizer: TokenizerConfig, width: int, layers: int, language: LanguageConfig) -> LanguageModule:
    """Both models, of random weights."""
    sizes = preset("paper").lm
    backbone = {
        **sizes.backbone,
        "hidden_size": width,
        "intermediate_size": width * 7 // 2,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 64,
    }
    # The pieces fix the size of the vocabulary.
    del backbone["vocab_size"]
    config = replace(
        sizes, token_width=tokenizer.token_width, num_tokens=tokenizer.num_tokens, backbone=backbone
    )
    lm = DivotLM.new(config, learn_pieces(world_corpus(0, 100, 16), language.vocab_size))
    return LanguageModule(VideoTokenizer(tokenizer), lm, language)


def with_tokens(samples: list[LanguageSample], config: TokenizerConfig) -> list[LanguageSample]:
    """The same as from a token store; which numbers the tokens hold makes no difference to the time."""
    shape = (config.num_tokens, config.token_width)
    return [replace(one, seen=one.seen[:0], tokens=torch.randn(len(one.seen), *shape)) for one in samples]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--smoke", action="store_true", help="one step of small models, for a CPU")
    given = parser.parse_args()
    sizes = preset("tiny" if given.smoke else "paper").tokenizer
    width, layers, batch_size, steps = (
        (64, 2, 4, 1) if given.smoke else (given.width, given.layers, given.batch_size, given.steps)
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    config = TrainConfig(stage="lm", init_model="-", language=LanguageConfig(tasks=TASKS))
    module = build(sizes, width, layers, config.language).to(device, torch.bfloat16).train()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-5)
    builder = module.lm.builder(config.language.max_length)
    dataset = LanguageDataset(config, builder, sizes.frame_size, batch_size)
    samples = [dataset[number] for number in range(batch_size)]
    shape = (sizes.num_tokens, sizes.token_width)

    def laid(kept: list[LanguageSample], packed_length: int) -> TrainingBatch:
        language = replace(config.language, packed_length=packed_length)
        return to_training_batch(module.lm.vocab.pad, shape, language, MAX_GROUPS, kept)

    batches = {
        "on_the_fly": laid(samples, 0),
        "from_store": laid(with_tokens(samples, sizes), 0),
        "from_store_packed": laid(with_tokens(samples, sizes), PACKED_LENGTH),
    }

    def step(batch: TrainingBatch) -> float:
        start = time.perf_counter()
        loss, _ = module(batch.to(device), [])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    found = {}
    for way, batch in batches.items():
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        # The first of each is not counted.
        taken = [step(batch) for _ in range(steps + 1)][1:]
        positions = [group.language.is_present for group in batch.groups]
        padding = 1 - sum(int(p.sum()) for p in positions) / sum(p.numel() for p in positions)
        memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
        found[way] = {
            "samples_per_s": batch_size / statistics.median(taken),
            "seconds": taken,
            "padding_share": padding,
            "memory_gib": memory,
        }
        told = "" if memory is None else f"   {memory:.1f} GiB"
        print(f"{way:<18} {found[way]['samples_per_s']:8.2f} samples/s   padding {padding:.1%}{told}")
    setting = {"width": width, "layers": layers, "batch_size": batch_size, "packed_length": PACKED_LENGTH}
    facts = {"setting": setting, "hardware": hardware(device), "versions": versions(), "date": now()}
    write_json(given.out / "time_lm.json", {**found, **facts})


if __name__ == "__main__":
    main()
