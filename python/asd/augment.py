"""Log-mels -> two views: Log-mixup-exp, Random Resize Crop, and normalising, as contrastive training wants them.

Axes: B clips, K clips of the bank, V views (2), F mel bands, T frames.

All that is random is drawn from (seed, place in the stream, view), by Philox4x32-10: nothing else, and no number of
threads, changes a view. Log-mels come pre-normalised: (log-mel - mean) / std with the training set's mean and std.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asd import _dsp, features
from asd.config import FeatureSpec

ALPHA = 0.4
"""Weight of the other clip in Log-mixup-exp, at most."""

BANK_SIZE = 2048
"""The other clip is one of so many before."""

EPS = 1.1920929e-07
"""Added to energies before the logarithm; also the least deviation that is divided by. Float32's own."""

MixDomain = Literal["normalised", "raw"]
MixBand = Literal["full", "high"]

_DEFAULT = FeatureSpec()


@dataclass(frozen=True, slots=True)
class Draws:
    """What is drawn for the views of a run of clips.

    Attributes:
        back_BV: how far back the partner lies: 0 is the clip just before, -1 stands for no partner (there is none, or
            alpha is 0).
        lam_BV: weight of the partner.
        top_BV, left_BV: first band and first frame of the crop, in the canvas of F × ⌊1.5 T⌋.
        height_BV, width_BV: its size.
    """

    back_BV: NDArray[np.int64]
    lam_BV: NDArray[np.float32]
    top_BV: NDArray[np.int64]
    left_BV: NDArray[np.int64]
    height_BV: NDArray[np.int64]
    width_BV: NDArray[np.int64]


def two_views(
    x_BFT: NDArray[np.float32],
    bank_KFT: NDArray[np.float32] | None,
    seed: int = 0,
    position: int = 0,
    threads: int | None = None,
    out: Sequence[NDArray[np.float32]] | NDArray[np.float32] | None = None,
    *,
    alpha: float = ALPHA,
    crop: bool = True,
    bank_size: int = BANK_SIZE,
    mix_domain: MixDomain = "normalised",
    mix_band: MixBand = "full",
    mean: float | None = None,
    std: float | None = None,
    spec: FeatureSpec = _DEFAULT,
    eps: float = EPS,
    post_normalise: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return two views of every clip, float32 (B, F, T) each.

    Each view is mixed with an earlier clip (`log_mixup_exp`, weight uniform in [0, alpha)), then cropped and resized
    (`random_resize_crop`, 0.6 to 1.5 times the size); both views of the batch together are normalised to mean 0 and
    unbiased deviation 1. Row b is draw ``position + b`` of the stream. Its partner is uniform among the last
    `bank_size` of its history, which is the bank and then ``x_BFT[:b]``; the first clip of a stream, without history,
    is not mixed. A batch cut in two (position and bank moved on) gives the same views before normalising. What is drawn
    does not depend on what is left out: without mixing, crops are the same as with it, and the other way round.

    Args:
        x_BFT: pre-normalised log-mels, C-contiguous float32.
        bank_KFT: the clips before them, the last row just before; None for none. Rows that are not drawn, and what
            of a row no crop shows, are not read.
        seed, position: whole numbers from 0 to 2**64 - 1.
        threads: 1 to 1024; None takes all that this process may use. The bytes do not depend on it.
        out: two arrays (B, F, T), or one (2, B, F, T), to write into.
        alpha: 0 to 1; 0 leaves mixing out: what is cropped is the clip itself.
        crop: False leaves cropping out: a view is the mixed clip.
        mix_domain: "normalised" mixes the exponentials of what comes in; "raw" mixes energies: it takes `mean` and
            `std` of the pre-normalising back, and applies them again.
        mix_band: "high" scales the weight by a ramp, linear in Hz at the band centres of `spec`: 0 up to 2 kHz, 1 from
            4 kHz on.
        eps: 1e-30 to 1: added to the energies before the logarithm; also the least deviation that is divided by.
        post_normalise: False leaves the last step out.

    Raises:
        ValueError: an argument of another type, shape or layout, values that are not finite or whose exponential
            overflows; `out` is then undefined.
    """
    shape = _batch("x", x_BFT).shape
    maker = kernel(shape, alpha, crop, bank_size, mix_domain, mix_band, mean, std, spec, eps)
    bank_KFT = np.empty((0, *shape[1:]), np.float32) if bank_KFT is None else bank_KFT
    if out is None:
        first, second = np.empty(shape, np.float32), np.empty(shape, np.float32)
    elif len(out) == 2:
        first, second = out
    else:
        raise ValueError(f"out: expected two arrays, got {len(out)}")
    maker.two_views(x_BFT, bank_KFT, first, second, seed, position, post_normalise, features.threads_or_all(threads))
    return first, second


def log_mixup_exp(
    x: NDArray[np.float32],
    z: NDArray[np.float32],
    lam: ArrayLike,
    *,
    mix_domain: MixDomain = "normalised",
    mean: float | None = None,
    std: float | None = None,
    eps: float = EPS,
    threads: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return ln((1 - lam) exp(x) + lam exp(z) + eps), in the shape of x: (F, T) or (B, F, T).

    Args:
        x, z: C-contiguous float32 of one shape. Exponents below -87 count as -87; above 88 they are an error.
        lam: 0 to 1: a number, or what broadcasts to ``x.shape[:-1]``: (F,) one a band, (B, 1) one a clip.
        mix_domain: "raw" mixes exp(x · std + mean), and brings the logarithm back.

    Raises:
        ValueError: an argument of another type, shape or layout, values that are not finite or whose exponential
            overflows; `out` is then undefined.
    """
    x_BFT, z_BFT = _batch("x", x), _batch("z", z)
    try:
        lam_BF = np.broadcast_to(np.asarray(lam, np.float32), x.shape[:-1]).reshape(x_BFT.shape[:2])
    except (TypeError, ValueError):
        raise ValueError(f"lam: expected a number, or what broadcasts to {x.shape[:-1]}") from None
    out = np.empty_like(x) if out is None else out
    mixer = _kernel(x_BFT.shape, ALPHA, True, BANK_SIZE, eps, _raw(mix_domain, mean, std), None)
    mixer.log_mixup_exp(
        x_BFT, z_BFT, np.ascontiguousarray(lam_BF), _batch("out", out), features.threads_or_all(threads)
    )
    return out


def random_resize_crop(
    x: NDArray[np.float32],
    top: ArrayLike,
    left: ArrayLike,
    height: ArrayLike,
    width: ArrayLike,
    *,
    threads: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return a part of every clip, resized to the whole, in the shape of x: (F, T) or (B, F, T).

    The clip lies in the middle of a canvas of zeros, F × ⌊1.5 T⌋, (⌊1.5 T⌋ - T) // 2 frames from its left edge. The
    part is resized as by ``torch.nn.functional.interpolate(mode="bicubic", align_corners=True)``.

    Args:
        x: C-contiguous float32.
        top, left: first band and first frame of the part in the canvas: whole numbers, or one a clip, (B,).
        height, width: bands and frames of the part, likewise.

    Raises:
        ValueError: an argument of another type, shape or layout, a part that leaves the canvas, values that are not
            finite; `out` is then undefined.
    """
    x_BFT = _batch("x", x)
    clips = x_BFT.shape[0]
    named = {"top": top, "left": left, "height": height, "width": width}
    crops_B4 = np.stack([_whole_numbers(name, value, clips) for name, value in named.items()], axis=1)
    out = np.empty_like(x) if out is None else out
    cropper = _kernel(x_BFT.shape, ALPHA, True, BANK_SIZE, EPS, None, None)
    cropper.random_resize_crop(x_BFT, crops_B4, _batch("out", out), features.threads_or_all(threads))
    return out


def draws(
    seed: int,
    position: int,
    clips: int,
    shape: tuple[int, int],
    history: int | None = None,
    *,
    alpha: float = ALPHA,
    bank_size: int = BANK_SIZE,
) -> Draws:
    """Return what `two_views` draws for the clips of rows ``position``, ``position + 1``, ... of the stream.

    Args:
        seed, position: as of `two_views`.
        clips: B.
        shape: (F, T) of the log-mels.
        history: clips that came before the first and can be partners: the K of the bank. None takes `position`: the
            whole stream up to here.
    """
    bands, frames = shape
    features.simd()  # whose error has a way out
    drawer = _dsp.Augment(bands, frames, alpha, True, bank_size, EPS, None, None)
    back_BV, lam_BV, crop_BV4 = drawer.draws(seed, position, clips, position if history is None else history)
    top_BV, left_BV, height_BV, width_BV = np.ascontiguousarray(np.moveaxis(crop_BV4, -1, 0))
    return Draws(back_BV, lam_BV, top_BV, left_BV, height_BV, width_BV)


def kernel(
    shape_BFT: tuple[int, ...],
    alpha: float,
    crop: bool,
    bank_size: int,
    mix_domain: MixDomain,
    mix_band: MixBand,
    mean: float | None,
    std: float | None,
    spec: FeatureSpec,
    eps: float,
) -> _dsp.Augment:
    """Return the maker of views of log-mels of this shape; arguments as of `two_views`."""
    centres_F = _high_bands(mix_band, spec)
    return _kernel(shape_BFT, alpha, crop, bank_size, eps, _raw(mix_domain, mean, std), centres_F)


def _kernel(
    shape_BFT: tuple[int, ...],
    alpha: float,
    crop: bool,
    bank_size: int,
    eps: float,
    raw: tuple[float, float] | None,
    centres_F: NDArray[np.float64] | None,
) -> _dsp.Augment:
    _, bands, frames = shape_BFT
    features.simd()  # whose error has a way out
    return _dsp.Augment(bands, frames, alpha, crop, bank_size, eps, raw, centres_F)


def _batch(name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return x as (B, F, T), of whatever dtype and layout: the kernel checks those."""
    if isinstance(x, np.ndarray) and x.ndim in (2, 3):
        return x[None] if x.ndim == 2 else x
    got = f"shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
    raise ValueError(f"{name}: expected float32 of shape (F, T) or (B, F, T), got {got}")


def _raw(mix_domain: MixDomain, mean: float | None, std: float | None) -> tuple[float, float] | None:
    if mix_domain == "normalised":
        return None
    if mix_domain != "raw":
        raise ValueError(f"mix_domain: expected 'normalised' or 'raw', got {mix_domain!r}")
    if mean is None or std is None:
        raise ValueError("mean, std: mix_domain 'raw' needs both")
    return mean, std


def _high_bands(mix_band: MixBand, spec: FeatureSpec) -> NDArray[np.float64] | None:
    if mix_band == "full":
        return None
    if mix_band != "high":
        raise ValueError(f"mix_band: expected 'full' or 'high', got {mix_band!r}")
    return features.mel_centres(spec)


def _whole_numbers(name: str, values: ArrayLike, clips: int) -> NDArray[np.int64]:
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iu" or numbers.shape not in ((), (clips,)):
        raise ValueError(f"{name}: expected a whole number, or {clips} of them, got {values!r}")
    return np.broadcast_to(numbers.astype(np.int64), (clips,))
