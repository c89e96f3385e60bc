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

BACKBONE = Path("out/smollm2")
STEPS = 40


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
    clip = world.clip(0, 0)
    answers = []
    for folder in (run / "model", tmp_path / "merged"):
        model = Divot.from_pretrained(folder, device="cpu")
        assert model.language_model().config.uses_chat_template
        answers.append(model.ask(clip.frames, "How many things are shown in all?"))
        lm = model.language_model()
        ids = torch.tensor([lm.tokenizer.encode("What happens first?")])
        with torch.no_grad():
            answers.append(lm.backbone(ids).logits)
    assert answers[0] == answers[2]
    assert answers[0]
    assert torch.allclose(answers[1], answers[3], atol=0.05)
