"""A recorded official model, laid out as the released files, converted: it is still that model."""

import torch

from divot.config.models import ModelConfig
from divot.weights.official import convert_official, convert_to_official
from divot.weights.official_files import DETOKENIZER_FILES, FOLDER, TOKENIZER_FILE
from divot.weights.official_names import TOKENIZER_COPY
from divot.weights.store import ModelFolder
from parity.conftest import COMMITTED
from parity.golden import Golden
from parity.rebuild import detokenizer_config, tokenizer_config


def test_converted_model_gives_the_recorded_conditions_and_comes_back(tmp_path):
    golden = Golden.load(COMMITTED / "detokenizer")
    official = {k.removeprefix("weight/"): v for k, v in golden.tensors.items() if k.startswith("weight/")}
    tokens, settings = golden.inputs()["video_embeds"], golden.config["video_tokenizer"]
    config = ModelConfig(
        tokenizer_config(settings["vit"], settings["tokenizer"]),
        detokenizer_config(golden.config, golden.inputs()["x_T"].shape[2], tokens.shape[1]),
    )
    folder = tmp_path / "released" / FOLDER
    folder.mkdir(parents=True)
    own = {k.removeprefix(TOKENIZER_COPY): v for k, v in official.items() if k.startswith(TOKENIZER_COPY)}
    torch.save(own, folder / TOKENIZER_FILE)
    torch.save(official, folder / DETOKENIZER_FILES["reconstruction"])

    report = convert_official(tmp_path / "released", tmp_path / "model", config=config)
    assert not report.notes
    assert [file.unexpected for file in report.files] == [[], []]
    detokenizer = ModelFolder.open(tmp_path / "model").detokenizer()
    with torch.no_grad():
        values = {
            "cond": detokenizer.projector(tokens),
            "uncond": detokenizer.projector(detokenizer.null_tokens[None]),
        }
    assert all(golden.compare(name, value).ok for name, value in values.items())

    convert_to_official(tmp_path / "model", tmp_path / "back")
    for path in folder.iterdir():
        back = torch.load(tmp_path / "back" / FOLDER / path.name, weights_only=True)
        original = torch.load(path, weights_only=True)
        assert back.keys() == original.keys()
        assert all(back[k].dtype == v.dtype and torch.equal(back[k], v) for k, v in original.items())
