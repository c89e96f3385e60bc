"""A small tokenizer that can write any text, and the real one of Mistral."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from divot.text.pieces import learn_pieces
from divot.text.vocab import SPECIAL_TOKENS, add_video_tokens

MISTRAL_COMMON = "mistral-common==1.13.1"
MISTRAL_MODEL = "mistral_common/data/tokenizer.model.v1"
MISTRAL_SHA256 = "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055"
UNREACHABLE = ("connection", "no route", "timed out", "retrying", "no module named pip")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer():
    texts = [
        "[INST] Describe the video. [/INST] A cat runs over the hill.",
        "Make a video of this: two dogs",
    ] * 5
    small = learn_pieces(texts, 320)
    add_video_tokens(small)
    return small


@pytest.fixture
def chat_tokenizer():
    """With a chat template of its own, whose turns end in <|im_end|>; it has no begin token."""
    small = learn_pieces(["user assistant Describe the video. A cat runs."] * 5, 320)
    small.add_special_tokens({"additional_special_tokens": ["<|im_start|>"], "eos_token": "<|im_end|>"})
    small.bos_token = None
    small.chat_template = CHATML
    add_video_tokens(small)
    return small


@pytest.fixture(scope="session")
def mistral_folder(tmp_path_factory):
    """The released layout: the real pieces, and the special tokens behind them."""
    folder = tmp_path_factory.mktemp("mistral")
    (folder / "tokenizer.model").write_bytes(_mistral_model())
    added = {token: 32000 + index for index, token in enumerate(SPECIAL_TOKENS)}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    return folder


def _mistral_model() -> bytes:
    """Out of a wheel of its authors, fetched once."""
    cache = Path(tempfile.gettempdir()) / "divot-tests"
    wheels = list(cache.glob("mistral_common-1.13.1-*.whl"))
    if not wheels:
        # Beside, then renamed: another process may look for it meanwhile.
        own = Path(tempfile.mkdtemp())
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(own), MISTRAL_COMMON]
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode and any(sign in found.stderr.lower() for sign in UNREACHABLE):
            pytest.skip("pip reaches no index: the real tokenizer cannot be fetched")
        assert found.returncode == 0, found.stderr
        cache.mkdir(exist_ok=True)
        for wheel in own.iterdir():
            beside = cache / f"{os.getpid()}.part"
            shutil.copy(wheel, beside)
            os.replace(beside, cache / wheel.name)
        shutil.rmtree(own)
        wheels = list(cache.glob("mistral_common-1.13.1-*.whl"))
    with zipfile.ZipFile(wheels[0]) as wheel:
        model = wheel.read(MISTRAL_MODEL)
    assert hashlib.sha256(model).hexdigest() == MISTRAL_SHA256
    return model
