"""What it takes to encode a corpus: clips, bytes of the store, core hours of reading, GPU hours of the tokenizer.

    python benchmarks/corpus_cost.py --videos 10.7e6 --hours 52000

Bytes and memory are those of a video of mean length, written here; FLOPs are counted on the meta device, without
weights; core hours come from the result of encode_film.py that is given. GPU hours are an estimate and nothing else:
FLOPs over the peak that is given and the share of it that is assumed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import tracemalloc
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from divot.config.models import TokenizerConfig
from divot.config.presets import preset
from divot.data.token_writer import TokenStoreWriter
from divot.data.tokens import DTYPES, Manifest, StoredVideo, read_videos
from divot.tokenizer import VideoTokenizer
from divot.video import CLIP_DURATION_S, SEEN_FRAMES, consecutive_clips

FILM = Path(__file__).parent / "results/2026-11-24-Intel-R-Xeon-R-Processor-2-cores-encode_film.json"
NUM_LINES = 2000


def clip_flops(config: TokenizerConfig) -> int:
    """Floating-point operations of one clip, a multiplication and an addition being two."""
    with torch.device("meta"):
        tokenizer = VideoTokenizer(config).eval().requires_grad_(False)
        frames = torch.empty(1, len(SEEN_FRAMES), 3, config.frame_size, config.frame_size)
    with FlopCounterMode(display=False) as counter:
        tokenizer(frames)
    return counter.get_total_flops()


def video_bytes(config: TokenizerConfig, duration_s: float, dtype: str) -> tuple[int, StoredVideo]:
    """What one video takes in a store, its line included, and the video."""
    manifest = Manifest("0" * 64, "model", dtype, config.num_tokens, config.token_width)
    tokens = torch.zeros(config.num_tokens, config.token_width, dtype=DTYPES[dtype])
    with tempfile.TemporaryDirectory() as scratch:
        source, store = Path(scratch) / "video.mp4", Path(scratch) / "store"
        source.write_bytes(b"video")
        with TokenStoreWriter(store, manifest) as writer:
            entry = writer.start(source, "some_folder/000000000.mp4")
            assert entry is not None
            for clip in consecutive_clips(duration_s):
                entry.add(clip, tokens)
            entry.finish()
        videos, line_bytes = read_videos(store)
        return line_bytes + sum((store / shard.file).stat().st_size for shard in videos[0].shards), videos[0]


def line_memory(video: StoredVideo) -> float:
    """Bytes of memory that a writer holds for each video of its store."""
    line = json.dumps(video.to_dict())
    tracemalloc.start()
    videos = [StoredVideo.from_dict(json.loads(line)) for _ in range(NUM_LINES)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / len(videos)


def main() -> None:
    """Print it all for both sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=float, required=True, help="videos in the corpus")
    parser.add_argument("--hours", type=float, required=True, help="their length together")
    parser.add_argument("--dtype", choices=DTYPES, default="float16")
    parser.add_argument("--film", type=Path, default=FILM, help="result of encode_film.py")
    parser.add_argument(
        "--peak-tflops", type=float, default=989.0, help="of the GPU: H100 SXM, dense bfloat16"
    )
    parser.add_argument("--share-of-peak", type=float, default=0.4, help="assumed, not measured")
    given = parser.parse_args()
    film = json.loads(given.film.read_text(encoding="utf-8"))
    cores = film["hardware"]["cores"]
    clip_core_s = film["runs"]["whole"]["seconds"] * cores / film["clips"]
    duration_s = given.hours * 3600 / given.videos
    # Each video's last clip is partial: half a clip more than its length, in the mean.
    clips = given.hours * 3600 / CLIP_DURATION_S + given.videos / 2
    print(f"videos of {duration_s:.1f} s in the mean, {clips / given.videos:.1f} clips each")
    print(f"clips             {clips / 1e6:.1f} million")
    print(
        f"reading, measured {clip_core_s:.2f} core seconds a clip ({film['video']['name']}, "
        f"{film['model']} included, {film['hardware']['cpu']}): {clips * clip_core_s / 3600:,.0f} core hours"
    )
    gpu_flops = given.peak_tflops * 1e12 * given.share_of_peak
    for name in ("tiny", "paper"):
        config = preset(name).tokenizer
        size, video = video_bytes(config, duration_s, given.dtype)
        flops = clip_flops(config)
        print(f"{name}")
        print(
            f"  store           {config.num_tokens} x {config.token_width} {given.dtype}: {size:,} bytes for a "
            f"video of {video.num_clips} clips, {size * given.videos / 1e9:,.0f} GB in all"
        )
        print(
            f"  tokenizer       {flops / 1e9:,.2f} GFLOPs a clip; at {given.share_of_peak:.0%} of "
            f"{given.peak_tflops:g} TFLOPS {gpu_flops / flops:,.0f} clips a second, "
            f"{clips * flops / gpu_flops / 3600:,.2f} GPU hours (estimated)"
        )
    print(f"memory of the writer {line_memory(video) * given.videos / 1e9:.0f} GB, if all is one store")


if __name__ == "__main__":
    main()
