"""Name and definition of every measure of reconstruction: the one home of both."""

from __future__ import annotations

DEFINITIONS = {
    "psnr": "PSNR of the reconstruction over all 16 frames.",
    "ssim": "Structural similarity of the reconstruction, the mean over the 16 frames (Gaussian window of 11 "
    "pixels, sigma 1.5, edges reflected, data range 255).",
    "psnr_swapped": "PSNR of what the tokens of another clip of the set decode to.",
    "psnr_vae": "PSNR of the clip encoded and decoded by the autoencoder alone: a ceiling for the rest.",
    "psnr_constant_frame": "PSNR of one frame shown for every clip: the mean of all frames of the set.",
    "psnr_constant_colour": "PSNR of the clip's mean colour.",
    "psnr_still": "PSNR of the clip's own mean frame, held still.",
    "psnr_nearest_seen": "PSNR over all 16 frames when each is replaced by the nearest of the 5 seen ones.",
    "psnr_unseen": "PSNR of the reconstruction over the 11 frames that the tokenizer does not see.",
    "psnr_moving": "PSNR of the reconstruction over the moving pixels of the 11 unseen frames.",
    "psnr_moving_nearest_seen": "PSNR of the nearest seen frames over those same pixels.",
    "gain_over_swapped": "The clip's psnr minus its psnr_swapped.",
    "gain_over_constant_frame": "The clip's psnr minus its psnr_constant_frame.",
    "gain_moving_over_nearest_seen": "The clip's psnr_moving minus its psnr_moving_nearest_seen.",
    "verifier_all": "Share of reconstructions in which the verifier of Sprite World reads all shapes, colours and "
    "motions right.",
    "verifier_shape": "The same of shapes alone.",
    "verifier_colour": "The same of colours alone.",
    "verifier_motion": "The same of motions alone.",
    "verifier_all_swapped": "The same of all three in what the tokens of another clip decode to.",
    "verifier_all_vae": "The same of all three in the clip through the autoencoder alone: a ceiling.",
    "verifier_all_true": "The same of all three in the clip itself: a ceiling.",
    "seconds_encode": "Seconds a clip from seen frames to tokens, its share of the batch.",
    "seconds_decode": "Seconds a clip from tokens to frames: all steps of the sampler and the autoencoder.",
}

OF_WORLD = tuple(name for name in DEFINITIONS if name.startswith("verifier"))
"""Measures that only clips of Sprite World have."""

GAINS = {
    "gain_over_swapped": ("psnr", "psnr_swapped"),
    "gain_over_constant_frame": ("psnr", "psnr_constant_frame"),
    "gain_moving_over_nearest_seen": ("psnr_moving", "psnr_moving_nearest_seen"),
}
"""Gain -> the measure and the one taken from it, clip by clip."""


def unit(name: str) -> str:
    """What the measure is counted in."""
    if name.startswith("seconds"):
        return "s"
    return "" if name == "ssim" or name in OF_WORLD else "dB"
