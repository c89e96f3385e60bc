"""Draw the curves of the runs that made `tiny`, one behind the other.

    pip install matplotlib
    python scripts/plot_curves.py docs/results docs/results/curves.png

matplotlib is for this picture alone, and no dependency of the project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# In the order in which each goes on from the weights of the one before.
TOKENIZER = (
    "tiny_metrics",
    "tiny_metrics_further",
    "tiny_metrics_third",
    "tiny_metrics_fourth",
    "tiny_metrics_gpu",
)
LANGUAGE = {
    "tiny_language_metrics_queries": "all",
    "tiny_language_metrics": "written one by one",
    "tiny_language_metrics_fourth": "new tokens",
    "tiny_language_metrics_unseen": "unseen tokens",
    "tiny_language_metrics_variance": "added variance",
    "tiny_language_metrics_shapes": "shapes alone",
    "tiny_language_metrics_after_shapes": "all again",
    "tiny_language_metrics_generation": "clips to write alone",
    "tiny_language_metrics_axes": "all again",
    "tiny_language_metrics_questions": "without the easy questions",
    "tiny_language_metrics_weak": "the weakest kinds alone",
    "tiny_language_metrics_again": "all but two kinds",
    "tiny_language_metrics_all": "all again",
    "tiny_language_metrics_full": "full captions",
    "tiny_language_metrics_gpu": "new tokens, six layers, on a GPU",
    "tiny_language_metrics_gpu_further": "the same",
    "tiny_language_metrics_gpu_plans": "plans and a connector, on a GPU",
    "tiny_language_metrics_wordings": "more wordings",
    "tiny_language_metrics_wordings_further": "the same",
    "tiny_language_metrics_typed": "requests typed in haste",
}


def draw(axes: plt.Axes, folder: Path, runs: dict[str, str], measure: str, label: str) -> None:
    """One panel: a measure over the samples seen, the runs one behind the other."""
    seen = 0
    for name, text in runs.items():
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        rows = [row for row in rows if measure in row]
        places = [(seen + row["clips"]) / 1000 for row in rows]
        axes.plot(places, [row[measure] for row in rows], linewidth=1, label=text)
        seen += rows[-1]["clips"]
    axes.set(xlabel=f"thousand {label}", ylabel=measure.removesuffix("_mean").replace("_", " "))
    axes.grid(alpha=0.3)


def main() -> None:
    """Both panels."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    figure, (left, right) = plt.subplots(1, 2, figsize=(14.5, 4.5))
    draw(left, folder, dict.fromkeys(TOKENIZER, ""), "loss_last_time_mean", "clips")
    left.set(title="tokenizer and U-Net", yscale="log")
    draw(right, folder, LANGUAGE, "text_loss_mean", "sequences")
    right.set(title="language model, words", ylim=(0.1, 1.0))
    right.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.tight_layout()
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
