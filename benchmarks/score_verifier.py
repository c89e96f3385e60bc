"""Score the verifier on true clips of Sprite World: drawn, with noise of 0.1 of the range, and through h264 at crf 23.

    python benchmarks/score_verifier.py --seed 7 -n 300 [--json FILE]

Prints which share of the test split's scenes is read rightly in shape, colour, motion and as a whole, with 95%
Wilson intervals, and the processor seconds of a clip; a reading knows nothing of the scene. Beside other work on
the machine, OPENBLAS_NUM_THREADS=1 is faster.
"""

from __future__ import annotations

import argparse
import io
import math
import time
from pathlib import Path

import av
import numpy as np

from divot.config.files import write_json
from divot.world import clip
from divot.world.verifier import verify
from divot.world.vocabulary import RATE_FPS

NOISE_LEVELS = 25.5
CRF = 23


def noisy(frames: np.ndarray, seed: int) -> np.ndarray:
    """The frames with Gaussian noise, clipped to uint8."""
    noise = np.random.default_rng(seed).normal(0.0, NOISE_LEVELS, frames.shape)
    return np.clip(np.round(frames + noise), 0, 255).astype(np.uint8)


def through_h264(frames: np.ndarray) -> np.ndarray:
    """The frames as they come back from an mp4 with h264 at yuv420p."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE_FPS, options={"crf": str(CRF)})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def interval(right: int, total: int) -> tuple[float, float]:
    """95% Wilson interval of a share."""
    z, share = 1.96, right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return middle - half, middle + half


def main() -> None:
    """Render, spoil, read, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("-n", type=int, default=300)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    attributes = ("shape", "colour", "motion", "all")
    results = {}
    for name in ("clean", "noise 0.1", "h264 crf 23"):
        counts, seconds = dict.fromkeys(attributes, 0), 0.0
        for index in range(given.n):
            world_clip = clip(given.seed, index, "test")
            frames = world_clip.frames
            if name == "noise 0.1":
                frames = noisy(frames, index)
            elif name == "h264 crf 23":
                frames = through_h264(frames)
            start = time.process_time()
            verdict = verify(frames, world_clip.scene)
            seconds += time.process_time() - start
            for attribute in attributes:
                counts[attribute] += getattr(verdict, attribute)
        low, high = interval(counts["all"], given.n)
        shares = {attribute: count / given.n for attribute, count in counts.items()}
        results[name] = {**shares, "all_95": [low, high], "cpu_seconds_per_clip": seconds / given.n}
        parts = "  ".join(f"{attribute} {share:.1%}" for attribute, share in shares.items())
        print(
            f"{name:<12} {parts} ({low:.1%} to {high:.1%})  {seconds / given.n:.2f} CPU s a clip", flush=True
        )
    if given.json:
        write_json(given.json, {"seed": given.seed, "n": given.n, "split": "test", "results": results})


if __name__ == "__main__":
    main()
