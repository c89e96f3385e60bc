"""The judge: of several clips that were written for the same words, the one that shows what they name."""

import json
import math
import shutil

import pytest
import torch

from divot.config.errors import CheckpointError
from divot.config.models import CriticConfig
from divot.detokenizer.critic import ShapeCritic, named, named_share
from divot.lm.sampling import TokenSampling
from divot.pipelines.divot import Divot
from divot.pipelines.generate import write_batch, write_generated
from divot.weights.inspect import inspect_path
from divot.weights.store import ModelFolder, add_critic
from divot.world import clip
from divot.world.vocabulary import SHAPES

CONFIG = CriticConfig(latent_channels=8, classes=("star", "cross"), width=8)


class Told(ShapeCritic):
    """Sees a star where the first channel is 1, a cross where it is -1, and nothing where it is 0."""

    def forward(self, latents):
        first = 20 * latents[:, :1]
        return torch.cat([torch.full_like(first, 10.0), first, -first], dim=1)


@pytest.fixture(scope="module")
def folder(language_folder, tmp_path_factory):
    """A model with a critic that sees something everywhere."""
    folder = tmp_path_factory.mktemp("models") / "judged"
    shutil.copytree(language_folder, folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = ShapeCritic(CONFIG)
    critic.conv_out.bias.data[0] = -20.0
    add_critic(folder, critic)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return Divot.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A red STAR moves left.", [True, False]),
        ("two stars, and a cross", [True, True]),
        ("Starry crossings", [False, False]),
        ("", [False, False]),
    ],
)
def test_words_name_classes(text, wanted):
    assert named(Told(CONFIG), text) == wanted


def test_the_share_is_that_of_what_is_seen_in_all_frames():
    drawn = torch.zeros(3, 8, 4, 6, 6)
    # Three positions of a star to one of a cross, in different frames.
    drawn[:, 0, 0, 0, :3], drawn[:, 0, 2, 1, 1] = 1.0, -1.0
    shares = named_share(Told(CONFIG), drawn, [[True, False], [True, True], [False, False]])
    assert shares.tolist() == pytest.approx([math.log(0.75), 0.0, 0.0], abs=0.05)
    assert shares[2] == 0
    absent = named_share(Told(CONFIG), drawn.abs(), [[False, True]] * 3)
    assert torch.isfinite(absent).all()
    assert absent.max() < -3


def test_the_candidate_is_kept_that_is_judged_best(model):
    lm, heard = model.language_model("generate"), []

    def judge(tokens, words, plans):
        heard.append((tokens, words, plans))
        return torch.tensor([0.0, 1e6, 1e6, 0.0])

    sampling = TokenSampling(candidates=4, temperature=1.0, component_temperature=1.0)
    written = write_batch(lm, ["a star", "a cross"], [1, 2], sampling, judge=judge)
    ((tokens, words, plans),) = heard
    # The likelier half of each.
    assert words == ["a star"] * 2 + ["a cross"] * 2
    assert len(plans) == 4
    assert torch.equal(written.tokens, tokens[[1, 2]])
    likeliest = write_batch(lm, ["a star", "a cross"], [1, 2], sampling)
    assert torch.equal(likeliest.tokens, tokens[[0, 2]])
    # Nobody is asked about one.
    write_batch(lm, ["a star"], [1], TokenSampling(candidates=1), judge=judge)
    assert len(heard) == 1


def test_a_clip_is_judged_by_its_words_or_else_its_plan_and_alone_as_beside_others(model, monkeypatch):
    judge = model.judge("generate")
    tokens = torch.randn(3, 64, 8, generator=torch.Generator().manual_seed(0))
    scores = judge(tokens, ["a star", "Ruby moves", "Ruby moves"], ["cross 1 2", "cross 1 2", ""])
    assert scores[0] == judge(tokens[:1], ["a star"], [""])[0]
    assert scores[1] == judge(tokens[1:2], ["a cross"], [""])[0]
    assert scores[0] < 0
    assert scores[2] == 0
    # Of what cannot be judged nothing is drawn.
    monkeypatch.setattr(judge.detokenizer, "sample_latents", None)
    assert judge(tokens[:1], ["Ruby moves"], [""])[0] == 0


def test_the_judge_of_tiny_tells_what_a_clip_shows_from_what_it_does_not():
    tiny = Divot.from_pretrained("tiny", device="cpu")
    judge, right = tiny.judge("generate"), 0
    drawn = (clip(11, number, "test", 64) for number in range(100))
    alone = [one for one in drawn if len(one.scene.sprites) == 1][:8]
    assert len(alone) == 8
    for one in alone:
        shown = one.scene.sprites[0].shape
        other = SHAPES[SHAPES.index(shown) - 1]
        scores = judge(tiny.encode_clip(one.frames).expand(2, -1, -1), [f"a {shown}", f"a {other}"], ["", ""])
        right += int(scores[0] > scores[1])
    assert right >= 7


def test_what_was_judged_is_in_the_record_by_whom(model, language_folder, tmp_path):
    sampling = TokenSampling(candidates=2)
    made = model.generate("a star", sampling=sampling)
    (record,) = write_generated(made, tmp_path / "judged", model, sampling)
    assert record["model"]["critic_hash"] == model.folder.critic_hash
    without = Divot.from_pretrained(language_folder, device="cpu")
    assert without.judge("generate") is None
    (record,) = write_generated(without.generate("a star"), tmp_path / "not", without, TokenSampling())
    assert "critic_hash" not in record["model"]


def test_a_model_folder_tells_of_its_critic_and_wants_it_whole(folder, tmp_path):
    assert ModelFolder.open(folder).critic().config == CONFIG
    assert "critic: folder critic" in inspect_path(folder).notes
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "critic" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no critic/config\.json"):
        ModelFolder.open(broken)
    contents = json.loads((broken / "model.json").read_text())
    for wrong, told in ((3, "'critic' is 3"), ("../critic", "names the folder")):
        (broken / "model.json").write_text(json.dumps({**contents, "critic": wrong}))
        with pytest.raises(CheckpointError, match=told):
            ModelFolder.open(broken)
