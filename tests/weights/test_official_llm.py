"""The released language models in and out: merged or as a LoRA, whole or in pieces; misfits are refused."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from divot.config.errors import CheckpointError
from divot.config.models import ConnectorConfig
from divot.lm.model import DivotLM
from divot.weights import official_llm_files
from divot.weights.official import convert_official, convert_to_official
from divot.weights.official_llm_files import LANGUAGE_FOLDERS, TOKENIZER_FOLDER, read_pieces
from divot.weights.official_llm_reading import read_language_models
from divot.weights.official_llm_tokenizer import read_tokenizer
from divot.weights.report import ConversionReport
from divot.weights.store import ModelFolder, add_language_model, write_model_folder
from weights.small import (
    assert_same_files,
    official_tensors,
    small_config,
    small_language_model,
    write_released,
)
from weights.small_llm import (
    VOCABULARY,
    agent_tensors,
    backbone_settings,
    backbone_tensors,
    in_training,
    lora_tensors,
    write_agent,
    write_language_models,
    write_llm,
    write_tokenizer,
)

PRETRAIN = LANGUAGE_FOLDERS["pretrain"]


@pytest.fixture
def root(tmp_path):
    """A folder with the tokenizer alone."""
    write_tokenizer(tmp_path / "released" / TOKENIZER_FOLDER)
    return tmp_path / "released"


def convert(root, backbone=None, dtype=None):
    """The one language model in `root`, loaded, and the report."""
    report = ConversionReport(str(root), "")
    found = read_language_models(root, small_config().tokenizer, backbone, report)
    (name,) = found
    found[name].write(root / "converted", dtype)
    return DivotLM.from_pretrained(root / "converted"), report


def backbone_of(lm):
    return {k.removeprefix("backbone."): v for k, v in lm.state_dict().items() if k.startswith("backbone.")}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, tensor in other.items():
        assert one[name].dtype == tensor.dtype, name
        assert torch.equal(one[name], tensor), name


def read_language_model(folder):
    llm = {}
    for file in read_pieces(folder / "llm"):
        llm |= file.tensors
    return llm, torch.load(folder / "agent" / "pytorch_model.bin", weights_only=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_whole_release_comes_in_and_goes_back_with_the_same_bits(dtype, tmp_path):
    released = write_released(tmp_path / "released", *official_tensors())
    written = write_language_models(released, dtype)
    report = convert_official(released, tmp_path / "model")
    model = ModelFolder.open(tmp_path / "model")
    assert model.contents.language_models.keys() == {"pretrain", "comprehension", "generation"}
    assert model.language_model_name("chat") == "comprehension"
    assert model.language_model_name("generate") == "generation"
    assert not any(file.unexpected or file.kept for file in report.files if "llm" in file.file)
    used = {file.file: file.used for file in report.files}
    assert used[f"{PRETRAIN}/llm/pytorch_model-00001-of-00002.bin"] == 10
    assert used[f"{PRETRAIN}/llm/pytorch_model-00002-of-00002.bin"] == 11
    assert used["Divot_sft_comp/agent/pytorch_model.bin"] == 8
    assert json.loads((tmp_path / "model" / "conversion.json").read_text()) == report.as_dict()

    lm = model.language_model("generation")
    llm, agent = written[LANGUAGE_FOLDERS["generation"]]
    assert_equal(backbone_of(lm), {name: tensor.float() for name, tensor in llm.items()})
    assert torch.equal(lm.head.layers[2].bias, agent["output_resampler.proj.2.bias"].float())
    assert lm.config.head.num_components == 2
    assert (lm.config.num_tokens, lm.config.token_width) == (6, 8)
    assert lm.config.official_prompts
    assert not lm.token_mean.any()
    assert torch.equal(lm.token_axes, torch.eye(8))

    convert_to_official(tmp_path / "model", tmp_path / "back")
    assert_same_files(tmp_path / "back", released)
    for place, (llm, agent) in written.items():
        back = read_language_model(tmp_path / "back" / place)
        assert_equal(back[0], llm)
        assert_equal(back[1], agent)
        settings = json.loads((tmp_path / "back" / place / "llm" / "config.json").read_text())
        assert settings == backbone_settings() | {"torch_dtype": str(dtype).removeprefix("torch.")}
        assert (tmp_path / "back" / place / "llm" / "generation_config.json").is_file()
    for path in (released / TOKENIZER_FOLDER).iterdir():
        assert (tmp_path / "back" / TOKENIZER_FOLDER / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(CheckpointError, match="exists"):
        convert_to_official(tmp_path / "model", tmp_path / "back")


def test_a_connector_cannot_be_written_as_official_files(tmp_path):
    released = write_released(tmp_path / "released", *official_tensors())
    write_language_models(released, torch.float32)
    convert_official(released, tmp_path / "model")
    model = ModelFolder.open(tmp_path / "model")
    lm = model.language_model("generation")
    lm.take_writing(connector=ConnectorConfig(depth=1, words_depth=1, width=16, num_heads=2))
    add_language_model(model.path, "generation", lm)
    with pytest.raises(CheckpointError, match="has a connector, which the official code does not know"):
        convert_to_official(tmp_path / "model", tmp_path / "back")


def test_left_overs_wrappers_and_copies_come_back(tmp_path):
    released = write_released(tmp_path / "released", *official_tensors())
    write_tokenizer(released / TOKENIZER_FOLDER)
    llm = backbone_tensors(0) | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    write_llm(released / PRETRAIN / "llm", llm, "bin")
    same, other = "model.norm.weight", "model.layers.0.input_layernorm.weight"
    agent = agent_tensors(0) | {
        f"llm.{same}": llm[same],
        f"llm.{other}": llm[other] + 1,
        "step": torch.ones(1),
    }
    wrapped = {"module": {f"module.{name}": tensor for name, tensor in agent.items()}}
    write_agent(released / PRETRAIN, wrapped)
    report = convert_official(released, tmp_path / "model")
    files = {file.file: file for file in report.files}
    assert files[f"{PRETRAIN}/llm/pytorch_model.bin"].unexpected == [
        "model.layers.0.self_attn.rotary_emb.inv_freq"
    ]
    about = files[f"{PRETRAIN}/agent/pytorch_model.bin"]
    assert (about.used, about.copied, about.kept, about.unexpected) == (8, 1, [f"llm.{other}"], ["step"])
    convert_to_official(tmp_path / "model", tmp_path / "back")
    back, theirs = read_language_model(tmp_path / "back" / PRETRAIN)
    assert_equal(back, llm)
    assert_equal(theirs["module"], wrapped["module"])


def test_source_without_language_models_gives_a_model_without(tmp_path):
    released = write_released(tmp_path / "released", *official_tensors())
    convert_official(released, tmp_path / "model")
    assert ModelFolder(tmp_path / "model").contents.language_models == {}
    assert not (tmp_path / "model" / TOKENIZER_FOLDER).exists()


def test_source_with_language_models_only_says_what_is_missing(root, tmp_path):
    write_llm(root / PRETRAIN / "llm", backbone_tensors(0), "bin")
    write_agent(root / PRETRAIN, agent_tensors(0))
    with pytest.raises(CheckpointError, match=r"no Divot_tokenizer\.bin"):
        convert_official(root, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_type_on_disk_can_be_chosen(root):
    write_llm(root / PRETRAIN / "llm", backbone_tensors(0), "shards")
    write_agent(root / PRETRAIN, agent_tensors(0))
    convert(root, dtype=torch.float16)
    for path in ("model.safetensors", "backbone/model.safetensors"):
        assert {v.dtype for v in load_file(root / "converted" / path).values()} == {torch.float16}, path
    assert DivotLM.from_pretrained(root / "converted", dtype=None).dtype == torch.float16


def test_large_weights_are_written_in_pieces(root, monkeypatch):
    monkeypatch.setattr(official_llm_files, "PIECE_SIZE", "20KB")
    llm = backbone_tensors(0)
    write_llm(root / PRETRAIN / "llm", llm, "bin")
    write_agent(root / PRETRAIN, agent_tensors(0))
    lm, _ = convert(root)
    assert len(list((root / "converted" / "backbone").glob("model-*-of-*.safetensors"))) > 2
    assert_equal(backbone_of(lm), llm)


def test_whole_language_model_in_the_agents_file_is_used(root):
    llm = backbone_tensors(0)
    write_agent(root / PRETRAIN, agent_tensors(0) | {f"llm.{name}": tensor for name, tensor in llm.items()})
    base = write_llm(root / "base", backbone_tensors(1), "bin")
    lm, report = convert(root, backbone=base)
    assert_equal(backbone_of(lm), llm)
    (about,) = report.files
    assert (about.used, about.copied, about.kept, about.unexpected) == (8 + 21, 0, [], [])


def test_language_model_in_the_agents_file_comes_back_to_it(tmp_path):
    released = write_released(tmp_path / "released", *official_tensors())
    write_tokenizer(released / TOKENIZER_FOLDER)
    llm = {f"llm.{name}": tensor for name, tensor in backbone_tensors(0).items()}
    write_agent(released / PRETRAIN, agent_tensors(0) | llm)
    base = write_llm(tmp_path / "base", backbone_tensors(1), "bin")
    convert_official(released, tmp_path / "model", backbone=base)
    convert_to_official(tmp_path / "model", tmp_path / "back")
    back, agent = read_language_model(tmp_path / "back" / PRETRAIN)
    assert_equal(back, backbone_tensors(0))
    assert_equal(agent, agent_tensors(0) | llm)


def test_lora_with_its_base_in_the_agents_file_is_merged(root):
    base = backbone_tensors(0)
    parts, merged = lora_tensors(base)
    trained = {f"llm.{name}": tensor for name, tensor in in_training(base, parts).items()}
    write_agent(root / PRETRAIN, agent_tensors(0) | trained)
    folder = write_llm(root / "base", backbone_tensors(1), "bin")
    lm, report = convert(root, backbone=folder)
    found = backbone_of(lm)
    assert found.keys() == merged.keys()
    assert all(torch.allclose(found[name], merged[name], atol=1e-6) for name in merged)
    assert sum(file.used for file in report.files) == 8 + len(trained)
    assert "a LoRA was merged" in report.notes[0]


@pytest.mark.parametrize("form", ["agent", "adapter.bin", "adapter.safetensors"])
def test_lora_alone_is_merged_into_the_base_that_is_given(root, form):
    # The base has the words alone: embeddings come with the LoRA.
    base = backbone_tensors(0)
    parts, merged = lora_tensors(base)
    small = base | {
        name: base[name][: VOCABULARY - 262] for name in ("model.embed_tokens.weight", "lm_head.weight")
    }
    folder = write_llm(root / "base", small, "shards")
    named = {f"base_model.model.{name}": tensor for name, tensor in parts.items()}
    if form == "agent":
        write_agent(
            root / PRETRAIN, agent_tensors(0) | {f"llm.{name}": tensor for name, tensor in named.items()}
        )
    else:
        write_agent(root / PRETRAIN, agent_tensors(0))
        adapter(root / PRETRAIN / "llm", named, form.partition(".")[2])
    lm, _ = convert(root, backbone=folder)
    found = backbone_of(lm)
    assert found.keys() == merged.keys()
    assert all(torch.allclose(found[name], merged[name], atol=1e-6) for name in merged)
    with pytest.raises(CheckpointError, match="--backbone"):
        read_language_models(root, small_config().tokenizer, None, ConversionReport("", ""))


def adapter(folder, tensors, suffix="safetensors", **settings):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "lora_alpha": 32, **settings})
    )
    if suffix == "bin":
        torch.save(tensors, folder / "adapter_model.bin")
    else:
        save_file(tensors, folder / "adapter_model.safetensors")


def test_lora_is_merged_as_peft_does(root):
    peft = pytest.importorskip("peft")
    from divot.lm.backbone import load_backbone

    base = write_llm(root / "base", backbone_tensors(0), "safetensors")
    model = peft.get_peft_model(
        load_backbone(base), peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"])
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(root / PRETRAIN / "llm")
    write_agent(root / PRETRAIN, agent_tensors(0))
    lm, _ = convert(root, backbone=base)
    found, wanted = backbone_of(lm), model.merge_and_unload().state_dict()
    assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in wanted)


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        ({"use_dora": True}, {}, "use_dora"),
        ({"peft_type": "IA3"}, {}, "IA3"),
        ({"lora_alpha": "much"}, {}, "no description of a LoRA"),
        (
            {},
            {"model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight": torch.ones(3)},
            "no plain LoRA has",
        ),
        ({}, {"model.layers.0.self_attn.q_proj.lora_B.weight": None}, "one half only"),
        ({}, {"model.layers.0.self_attn.q_proj.lora_B.weight": torch.ones(3, 4)}, "misshapen"),
        ({}, {"model.layers.0.self_attn.q_proj.lora_B.weight": torch.ones(16, 5)}, "misshapen"),
    ],
)
def test_lora_that_cannot_be_added_up_is_refused(root, settings, change, message):
    base = backbone_tensors(0)
    parts, _ = lora_tensors(base)
    parts = {name: tensor for name, tensor in (parts | change).items() if tensor is not None}
    adapter(root / PRETRAIN / "llm", {f"base_model.model.{name}": v for name, v in parts.items()}, **settings)
    write_agent(root / PRETRAIN, agent_tensors(0))
    with pytest.raises(CheckpointError, match=message):
        convert(root, backbone=write_llm(root / "base", base, "bin"))


@pytest.mark.parametrize(
    ("place", "name", "tensor", "message"),
    [
        ("llm", "model.layers.1.mlp.up_proj.weight", None, r"1 missing \(model\.layers\.1\.mlp\.up_proj"),
        ("llm", "lm_head.weight", None, r"1 missing \(lm_head"),
        (
            "llm",
            "model.norm.weight",
            torch.ones(3),
            r"1 misshapen \(model\.norm\.weight \[3\], wanted \[16\]",
        ),
        ("llm", "model.embed_tokens.weight", None, "has no model.embed_tokens.weight"),
        (
            "llm",
            "model.embed_tokens.weight",
            torch.ones(320, 16),
            "embeddings for 320 tokens, its tokenizer knows 582",
        ),
        ("agent", "input_resampler.proj.2.bias", None, r"1 missing \(input_resampler\.proj\.2\.bias"),
        ("agent", "input_resampler.proj.0.weight", torch.ones(16, 9), "not for tokens of width 8"),
        ("agent", "output_resampler.proj.0.weight", torch.ones(34, 5), "1 misshapen"),
        ("agent", "output_resampler.proj.2.weight", torch.ones(35, 34), "not for tokens of width 8"),
    ],
)
def test_language_model_that_does_not_fit_is_refused(root, place, name, tensor, message):
    tensors = {"llm": backbone_tensors(0), "agent": agent_tensors(0)}
    tensors[place] = {k: v for k, v in (tensors[place] | {name: tensor}).items() if v is not None}
    write_llm(root / PRETRAIN / "llm", tensors["llm"], "shards")
    write_agent(root / PRETRAIN, tensors["agent"])
    with pytest.raises(CheckpointError, match=message):
        convert(root)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (f"{PRETRAIN}/agent/pytorch_model.bin", None, "no agent/pytorch_model.bin"),
        (f"{PRETRAIN}/agent/pytorch_model.bin", b"hello", "damaged"),
        (f"{PRETRAIN}/llm/pytorch_model-00002-of-00002.bin", None, "is missing"),
        (f"{PRETRAIN}/llm/pytorch_model-00002-of-00002.bin", b"hello", "damaged"),
        (f"{PRETRAIN}/llm/pytorch_model.bin.index.json", None, "has none of"),
        (f"{PRETRAIN}/llm/pytorch_model.bin.index.json", b"{}", "no index of weight files"),
        (
            f"{PRETRAIN}/llm/pytorch_model.bin.index.json",
            b'{"weight_map": {"a": "../x.bin"}}',
            "a file elsewhere",
        ),
        (f"{PRETRAIN}/llm/config.json", b"[3", "not a JSON mapping"),
        (f"{PRETRAIN}/llm/config.json", b'{"model_type": "no such"}', "no such"),
        (f"{TOKENIZER_FOLDER}/tokenizer.model", None, "is missing"),
        (f"{TOKENIZER_FOLDER}/tokenizer.model", b"hello", "no sentencepiece model"),
        (f"{TOKENIZER_FOLDER}/added_tokens.json", None, "is missing"),
        (f"{TOKENIZER_FOLDER}/added_tokens.json", b"[3", "no table"),
        (f"{TOKENIZER_FOLDER}/added_tokens.json", b'{"<img>": 321}', "do not follow"),
        (f"{TOKENIZER_FOLDER}/added_tokens.json", b'{"<img>": 320}', "no token '</img>'"),
        (TOKENIZER_FOLDER, None, r"tokenizer\.model: is missing"),
        (f"{PRETRAIN}/llm", None, "its agent file holds no language model"),
    ],
)
def test_damaged_or_missing_file_is_named(root, path, content, message):
    write_llm(root / PRETRAIN / "llm", backbone_tensors(0), "shards")
    write_agent(root / PRETRAIN, agent_tensors(0))
    if content is not None:
        (root / path).write_bytes(content)
    elif (root / path).is_dir():
        shutil.rmtree(root / path)
    else:
        (root / path).unlink()
    with pytest.raises(CheckpointError, match=message):
        convert(root)


def test_agent_that_would_run_code_is_not_opened(root):
    import os

    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(root / "trapped"),))

    write_llm(root / PRETRAIN / "llm", backbone_tensors(0), "bin")
    write_agent(root / PRETRAIN, agent_tensors(0))
    write_agent(root / PRETRAIN, {"a": Trap()})
    with pytest.raises(CheckpointError, match="could run code"):
        convert(root)
    assert not (root / "trapped").exists()


def test_sentencepiece_is_asked_for_where_it_is_needed(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(CheckpointError, match="pip install sentencepiece"):
        read_tokenizer(root / TOKENIZER_FOLDER)


def test_converted_tokenizer_needs_no_sentencepiece(root, monkeypatch):
    read_tokenizer(root / TOKENIZER_FOLDER).save_pretrained(root / "ours")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    again = read_tokenizer(root / "ours")
    assert len(again) == VOCABULARY
    vocab, added = again.get_vocab(), json.loads((root / TOKENIZER_FOLDER / "added_tokens.json").read_text())
    assert {token: vocab[token] for token in added} == added


def own_model(tmp_path, name="generation", lm=None):
    from divot.detokenizer import VideoDetokenizer
    from divot.tokenizer import VideoTokenizer

    config = small_config()
    tokenizer, detokenizer = VideoTokenizer(config.tokenizer), VideoDetokenizer(config.detokenizer)
    lm = small_language_model() if lm is None else lm
    write_model_folder(
        tmp_path / "m", tokenizer, {"reconstruction": detokenizer}, dtype=None, language_models={name: lm}
    )
    return lm


def test_own_language_model_can_be_written_as_official_files_and_read_again(tmp_path):
    lm = own_model(tmp_path)
    convert_to_official(tmp_path / "m", tmp_path / "out")
    folder = tmp_path / "out" / LANGUAGE_FOLDERS["generation"]
    llm, agent = read_language_model(folder)
    assert_equal(llm, backbone_of(lm))
    assert torch.equal(agent["input_resampler.proj.0.weight"], lm.input_projection[0].weight)
    convert_official(tmp_path / "out", tmp_path / "again")
    again = ModelFolder(tmp_path / "again").language_model("generation")
    assert_equal(again.state_dict(), lm.state_dict())
    assert again.tokenizer.get_vocab() == lm.tokenizer.get_vocab()


def test_language_model_that_the_official_code_does_not_know_is_not_written(tmp_path):
    lm = small_language_model()
    lm.set_token_statistics(torch.randn(4, 6, 8))
    own_model(tmp_path, lm=lm)
    with pytest.raises(CheckpointError, match="token statistics"):
        convert_to_official(tmp_path / "m", tmp_path / "out")
    lm = small_language_model()
    lm.take_plans(True)
    own_model(tmp_path, lm=lm)
    with pytest.raises(CheckpointError, match="has plans"):
        convert_to_official(tmp_path / "m", tmp_path / "out")
    own_model(tmp_path, name="default")
    with pytest.raises(CheckpointError, match="the language model 'default'"):
        convert_to_official(tmp_path / "m", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))
