"""A LoRA on a real pre-trained language model; only with --slow, after scripts/fetch_smollm2.py out/smollm2."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from divot import world
from divot.config.recipe import read_recipe
from divot.pipelines.divot import Divot
from divot.train.run import train
from divot.weights.merge import merge_model
from divot.world.questions import questions
from divot.world.vocabulary import COLOURS

BACKBONE = Path("out/smollm2")
STEPS, NUM_CLIPS = 40, 5
ANSWERS = {
    "count": {"one", "two"},
    "colour": set(COLOURS),
    "yes_no": {"yes", "no"},
}


@pytest.mark.slow
def test_lora_on_smollm2_learns_answers_and_merges(tmp_path):
    assert BACKBONE.is_dir(), "run scripts/fetch_smollm2.py out/smollm2 first"
    changes = {"stage": "lm", "preset": "tiny", "num_steps": STEPS, "batch_size": 4, "log_every": 5}
    config = read_recipe("tiny_lm_smollm2", {**changes, "sample_every": STEPS})
    run = tmp_path / "run"
    train(dataclasses.replace(config, checkpoint_every=1000), run, use_cpu=True)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["text_loss_mean"] < 0.5 * rows[0]["text_loss_mean"]
    assert rows[-1]["video_loss_mean"] < rows[0]["video_loss_mean"]

    merge_model(run / "model", tmp_path / "merged")
    with_lora, merged = (Divot.from_pretrained(f, device="cpu") for f in (run / "model", tmp_path / "merged"))
    assert with_lora.language_model().config.uses_chat_template
    asked, fitting = 0, 0
    for number in range(NUM_CLIPS):
        clip = world.clip(0, number, "test", 64)
        for one in questions(clip.scene, number):
            if one.kind in ANSWERS:
                answer = with_lora.ask(clip.frames, one.text)
                assert merged.ask(clip.frames, one.text) == answer
                asked, fitting = asked + 1, fitting + (answer.strip().lower() in ANSWERS[one.kind])
    # So little training teaches what can be answered, not yet what is right.
    assert fitting >= 0.8 * asked > 0
    ids = torch.tensor([merged.language_model().tokenizer.encode("What happens first?")])
    with torch.no_grad():
        logits = [model.language_model().backbone(ids).logits for model in (with_lora, merged)]
    # Of 30 at most: weights are float16 on disk.
    assert torch.allclose(*logits, atol=0.1)
