"""Every setting of the system: frozen models, TOML in and out.

Precedence: a preset < ``-c file.toml`` < ``--set a.b=c`` < flags. Unknown keys are refused with the nearest name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from asd.errors import UsageError, nearest

LOG_EPS = 1.1920929e-07
"""Added to the mel energies before the logarithm: the float32 machine epsilon."""

NO_MATTER = ("data.", "seed", "device", "threads", "cache_gb", "checkpoint_minutes")
"""Settings, or groups of them, that a system stays the same under."""

_PRESETS = files("asd") / "presets"


class Frozen(BaseModel):
    """Immutable, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FeatureSpec(Frozen):
    """How a recording becomes log-mels.

    Short-time Fourier transform (periodic Hann, centred, reflect padding, power 2), mel filters, natural
    logarithm of (mel + eps).

    Attributes:
        sample_rate: Hz; recordings at another rate are resampled to it.
        n_fft: samples of a frame, a power of two from 256 to 4096.
        hop_length: samples from one frame to the next.
        n_mels: mel bands F.
        f_min, f_max: Hz; the edges of the lowest and the highest band.
        mel_scale: ``"slaney"`` (librosa's default, area-normalised) or ``"htk"`` (torchaudio's, not normalised).
        eps: added to the mel energies.
        clip_seconds: length of a window; longer recordings (over 1.5 windows) are cut, shorter ones repeated.
        channel: which channel of several, counted from 0, or ``"mix"`` for their mean.
        allow_upsampling: accept sources below `sample_rate`, whose upper bands are then empty.
    """

    sample_rate: int = Field(16_000, ge=1_000, le=192_000)
    n_fft: int = Field(1024, ge=256, le=4096)
    hop_length: int = Field(512, ge=1, le=4096)
    n_mels: int = Field(128, ge=1, le=512)
    f_min: float = Field(0.0, ge=0)
    f_max: float = Field(8_000.0, gt=0)
    mel_scale: Literal["slaney", "htk"] = "slaney"
    eps: float = Field(LOG_EPS, ge=1.2e-38, le=1)
    clip_seconds: float = Field(10.0, gt=0, le=600)
    channel: int | Literal["mix"] = 0
    allow_upsampling: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> FeatureSpec:
        if self.n_fft & (self.n_fft - 1):
            raise ValueError(f"n_fft = {self.n_fft} is not a power of two")
        if self.hop_length > self.n_fft:
            raise ValueError(
                f"hop_length = {self.hop_length} is larger than n_fft = {self.n_fft}: samples would be skipped"
            )
        if not self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(
                f"f_min = {self.f_min:g}, f_max = {self.f_max:g}: wanted f_min < f_max <= "
                f"{self.sample_rate / 2:g}, half the sample rate"
            )
        if self.clip_samples < self.n_fft:
            raise ValueError(f"clip_seconds = {self.clip_seconds:g} is shorter than one frame of {self.n_fft} samples")
        if isinstance(self.channel, int) and self.channel < 0:
            raise ValueError(f"channel = {self.channel}: channels are counted from 0")
        return self

    @property
    def clip_samples(self) -> int:
        """Samples of one window."""
        return round(self.clip_seconds * self.sample_rate)

    @property
    def frames(self) -> int:
        """Frames T of one window: 1 + samples // hop."""
        return 1 + self.clip_samples // self.hop_length


class DataConfig(Frozen):
    """Which recordings.

    Attributes:
        root: a data root with machine folders; empty when `normal` is given.
        machine: folder of the machine below the root; with `normal` the name of its folder.
        ids: the sections (machine IDs) to model; empty means all.
        normal: a folder or file of own recordings, all of a machine that is well.
        exclude: recordings left out of training, by path relative to the root.
        session_regex: its first group (or whole match) on the path names the session of a recording; folds
            then go by session.
        skip_bad: go on without recordings that cannot be read, and count them.
    """

    root: str = ""
    machine: str = ""
    ids: tuple[str, ...] = ()
    normal: str = ""
    exclude: tuple[str, ...] = ()
    session_regex: str = ""
    skip_bad: bool = False


class EncoderConfig(Frozen):
    """The network that turns a log-mel into an embedding; see `asd.models.encoders`.

    Attributes:
        name: ``"small"`` trains in minutes on a CPU.
        width: factor on the channels of ``"mobilenetv2"``.
        norm: ``"batch"``, or ``"group"``: group normalisation, for which the company in a batch does not matter.
        pooling: what is kept of the last maps: ``"mean"`` over frequency and time, ``"statistics"`` (mean and
            standard deviation), or ``"bands"`` (mean over time alone); none: the network's own.
        weights: a run folder, or a file of weights, that training starts from; empty starts from random weights.
    """

    name: Literal["small", "mobilenetv2", "mobilefacenet", "resnet50"] = "small"
    width: float = Field(1.0, ge=0.1, le=4)
    norm: Literal["batch", "group"] = "batch"
    pooling: Literal["mean", "statistics", "bands"] | None = None
    weights: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> EncoderConfig:
        if self.width != 1 and self.name != "mobilenetv2":
            raise ValueError(f"width = {self.width:g}: only mobilenetv2 has a width, not {self.name}")
        if self.pooling is not None and self.name == "mobilefacenet":
            raise ValueError(f"pooling = {self.pooling}: mobilefacenet pools by a convolution of its own")
        return self


class ViewsConfig(Frozen):
    """How a clip is varied before a network sees it; see `asd.two_views`.

    Attributes:
        alpha: weight of the other clip in Log-mixup-exp, at most; 0 leaves it out.
        crop: Random Resize Crop.
        bank_size: the other clip is one of so many before.
        mix_domain: ``"normalised"`` (the paper) or ``"raw"``: true energies.
        mix_band: ``"full"`` (the paper's formula), or ``"high"``: mixing changes bands above 2 kHz only.
        stretch: share of a window's frames that a step of training looks at, at a place that is drawn for each view;
            scoring looks at all of them. Only for networks that take any T.
    """

    alpha: float = Field(0.4, ge=0, le=1)
    crop: bool = True
    bank_size: int = Field(2048, ge=1, le=65_536)
    mix_domain: Literal["normalised", "raw"] = "normalised"
    mix_band: Literal["full", "high"] = "full"
    stretch: float = Field(1.0, gt=0, le=1)


class VariantsConfig(Frozen):
    """Changed spectra as classes of their own; see `asd.train.variants`.

    Attributes:
        regions: a clip gets a bump in one of so many regions of frequency, or in none, and each is a class that is to
            be told from the others; 0: no bumps.
        strength: height of a bump, in deviations of the pre-normalised log-mels, on average.
        width: of a bump, in bands, on average.
        gain: deviation of a level that every clip is raised or lowered by, so that level tells nothing.
    """

    regions: int = Field(0, ge=0, le=128)
    strength: float = Field(0.3, gt=0, le=10)
    width: float = Field(8.0, gt=0, le=128)
    gain: float = Field(0.0, ge=0, le=10)


class OptimiserConfig(Frozen):
    """How weights are fitted.

    Attributes:
        name: Adam, or AdamW with decoupled weight decay.
        learning_rate, weight_decay: of it.
        schedule: ``"constant"``, or ``"cosine"`` down to 0 at the end.
        warmup: share of the steps in which the learning rate rises linearly from 0.
        clip_norm: gradients of a larger norm are scaled down to it; 0 leaves them.
        batch_size: clips a step, of all processes together; none takes 64, or all there are if they are fewer, and of
            those as many as divide the queue.
        epochs: passes over the training windows; 0 takes the weights as they come.
        least_steps: of all epochs together: an epoch of a small set is as many passes over it as that takes.
        precision: ``"auto"`` is bfloat16 autocast on a GPU that has it, else float32. ``"float32"`` is exact: no TF32.
        compile: run the network through ``torch.compile``.
    """

    name: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0, le=10)
    weight_decay: float = Field(0.0, ge=0, le=1)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: float = Field(0.0, ge=0, lt=1)
    clip_norm: float = Field(0.0, ge=0)
    batch_size: int | None = Field(None, ge=2, le=65_536)
    epochs: int = Field(20, ge=0, le=100_000)
    least_steps: int = Field(0, ge=0, le=10_000_000)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False


class MocoConfig(Frozen):
    """Momentum contrast; see `asd.models.moco`.

    Attributes:
        momentum: m of θ_k ← m·θ_k + (1−m)·θ_q.
        queue_size: keys of earlier batches to compare with, a multiple of the batch size; none takes the largest
            such multiple not above 4,096, or 65,536 for sets of 100,000 windows and more.
        temperature: τ.
        projection: size of the space in which views are compared.
    """

    momentum: float = Field(0.99, ge=0, lt=1)
    queue_size: int | None = Field(None, ge=1, le=2**20)
    temperature: float = Field(0.07, gt=0, le=10)
    projection: int = Field(128, ge=2, le=4096)


class ClassifierConfig(Frozen):
    """The classifier that fine-tuning fits; see `asd.models.heads`.

    Attributes:
        head: what follows the embedding.
        scale, margin: s and m of ``"arcface"`` and ``"subcentre-arcface"``.
        subcentres: centres of a class of ``"subcentre-arcface"``.
        classes: what is told apart: machine × section × attributes over all machines of the data root (``"root"``), or
            of the one machine (``"machine"``).
        attributes: False tells machine × section apart, whatever their attributes.
        mixup: mix pairs of clips, and their labels: ``"logmel"``, ``"wave"``, or ``"none"``.
        mixup_alpha: of the Beta distribution that the share is drawn from.
        frames: the network sees stretches of so many frames; none: whole windows.
        hop, score_hop: frames from one stretch to the next, in training and in scoring.
    """

    head: Literal["softmax", "arcface", "subcentre-arcface", "adacos"] = "arcface"
    scale: float = Field(30.0, gt=0, le=1000)
    margin: float = Field(0.7, ge=0, lt=3.14)
    subcentres: int = Field(3, ge=1, le=64)
    classes: Literal["root", "machine"] = "machine"
    attributes: bool = True
    mixup: Literal["none", "logmel", "wave"] = "none"
    mixup_alpha: float = Field(0.2, gt=0, le=10)
    frames: int | None = Field(None, ge=16, le=4096)
    hop: int = Field(8, ge=1)
    score_hop: int = Field(1, ge=1)


class Config(Frozen):
    """Everything that a training run depends on; stored in its ``config.toml``.

    Attributes:
        method: how the detector is made. ``"baseline"`` needs no training: see `asd.detect.baseline`.
            ``"contrastive"`` and ``"finetune"`` train a network, ``"pretrain"`` one that others start from.
        preset: the named settings that the rest was laid over; empty: none.
        scorer: what decides: ``"auto"`` is `asd.detect.DEFAULT_SCORER` with a network, else the baseline.
        aggregate: score of a recording of many windows: mean of its highest 5 % (``"top"``), mean, or max.
        false_alarm_rate: share of normal recordings that may lie above the threshold.
        force: accept fewer than 10 normals behind a threshold.
        threads: of the front end and of the network on a CPU; none means all that this process may use,
            shared evenly among the processes of ``torchrun`` on a machine.
        seed: of weights, order and views.
        device: ``"auto"`` is the first GPU where there is one.
        cache_gb: memory for log-mels, in units of 10^9 bytes.
        half: keep them as float16.
        checkpoint_minutes: a checkpoint is written at the end of an epoch when the last one is so old; 0: after every
            epoch. In the middle of a long epoch one is written after ten times as long, and a minute at least.
    """

    method: Literal["baseline", "contrastive", "finetune", "pretrain"] = "baseline"
    preset: str = ""
    scorer: str = "auto"
    aggregate: Literal["top", "mean", "max"] = "top"
    false_alarm_rate: float = Field(0.01, gt=0, lt=0.5)
    force: bool = False
    threads: int | None = Field(None, ge=1, le=1024)
    seed: int = Field(0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cache_gb: float = Field(4.0, ge=0, le=1e6)
    half: bool = False
    checkpoint_minutes: float = Field(1.0, ge=0, le=1440)
    data: DataConfig = DataConfig()
    features: FeatureSpec = FeatureSpec()
    encoder: EncoderConfig = EncoderConfig()
    views: ViewsConfig = ViewsConfig()
    variants: VariantsConfig = VariantsConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    moco: MocoConfig = MocoConfig()
    classifier: ClassifierConfig = ClassifierConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        size, queue = self.optimiser.batch_size, self.moco.queue_size
        if self.method in ("contrastive", "pretrain") and size and queue and queue % size:
            raise ValueError(
                f"moco.queue_size = {queue} is not a multiple of the batch size {size}; "
                f"for example: --set moco.queue_size={max(1, queue // size) * size}"
            )
        if self.encoder.name == "mobilefacenet" and self.views.stretch < 1:
            raise ValueError(
                f"views.stretch = {self.views.stretch:g}: mobilefacenet takes whole windows only: --set views.stretch=1"
            )
        if self.method == "finetune":
            _check_classifier(self.classifier, self.views)
        elif self.method != "baseline" and self.views_are_one and not self.variants.regions:
            raise ValueError(
                "both views of a clip are the same, and there is nothing to learn: --set views.crop=true, "
                "--set views.alpha=0.4, --set views.stretch=0.5 or --set variants.regions=8 gives it something"
            )
        return self

    @property
    def views_are_one(self) -> bool:
        """Both views of a clip are the same."""
        views = self.views
        return views.alpha == 0 and not views.crop and views.stretch == 1 and self.variants.gain == 0

    def to_toml(self) -> str:
        """Return the settings as given, with all defaults; reading them back gives an equal object."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def _check_classifier(classifier: ClassifierConfig, views: ViewsConfig) -> None:
    """Refuse settings of which one leaves the other no effect."""
    if classifier.mixup == "wave" and (views.alpha > 0 or views.crop):
        raise ValueError(
            'classifier.mixup = "wave" makes log-mels of its own, without views: --set views.alpha=0 --set '
            "views.crop=false, or mix log-mels: --set classifier.mixup=logmel"
        )
    if classifier.frames is not None and views.stretch < 1:
        raise ValueError(
            f"classifier.frames = {classifier.frames} tells already what part of a window the network sees: "
            "--set views.stretch=1"
        )


def load_config(
    file: Path | None = None,
    assignments: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    base: Mapping[str, Any] | None = None,
) -> Config:
    """Merge a TOML file, ``a.b=c`` assignments and flags, later ones winning, and check the result.

    Args:
        file: TOML with the keys of `Config`.
        assignments: values are TOML; what is no TOML value is taken as a string.
        flags: dotted keys; a value of None means that the flag was not given.
        base: what all of it is laid over, such as a preset.

    Raises:
        UsageError: absent or broken file, unknown key (the nearest is named), value out of range.
    """
    return parse_config(merge_config(file, assignments, flags, base), str(file) if file else "")


def merge_config(
    file: Path | None, assignments: Iterable[str], flags: Mapping[str, Any] | None, base: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the merged values of `load_config`, unchecked."""
    merged = _laid_over(base or {}, {})
    if file is not None:
        merged = _laid_over(merged, _read_toml(file))
    for text in assignments:
        key, sign, value = text.partition("=")
        if not sign:
            raise UsageError(f"--set {text}: expected key=value", "For example: --set false_alarm_rate=0.02")
        _assign(merged, key.strip(), _toml_value(value.strip()))
    for key, value in (flags or {}).items():
        if value is not None:
            _assign(merged, key, value)
    return merged


def presets() -> list[str]:
    """Return the names of the presets."""
    return sorted(p.name.removesuffix(".toml") for p in _PRESETS.iterdir() if p.name.endswith(".toml"))


def read_preset(name: str) -> dict[str, Any]:
    """Return the settings of a preset.

    Raises:
        UsageError: there is none of that name; names the nearest.
    """
    if name not in presets():
        raise UsageError(f"no preset {name!r}.{nearest(name, presets())}", f"There are: {', '.join(presets())}.")
    return tomllib.loads((_PRESETS / f"{name}.toml").read_text(encoding="utf-8"))


def differences(before: Config, after: Config) -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted keys whose values differ, with both values."""
    yield from _differences(before.model_dump(), after.model_dump())


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key, value in before.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", *values) for inner, *values in _differences(value, after[key]))
        elif value != after[key]:
            yield key, value, after[key]


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = {key: dict(value) if isinstance(value, dict) else value for key, value in below.items()}
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _laid_over(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def parse_config(values: Mapping[str, Any], source: str = "") -> Config:
    """Check a mapping against `Config`.

    Raises:
        UsageError: names the key, and `source` where there is one.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _usage_error(error, source) from None


def feature_spec(**values: Any) -> FeatureSpec:
    """Build a `FeatureSpec`; a bad value is a `UsageError` instead of pydantic's error."""
    try:
        return FeatureSpec(**values)
    except ValidationError as error:
        raise _usage_error(error, "") from None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: {error}", "A config is TOML, for example: false_alarm_rate = 0.02") from None


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, leaf = dotted.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise UsageError(f"{dotted}: {parent} is a value, not a table")
    tree[leaf] = value


def _usage_error(error: ValidationError, source: str) -> UsageError:
    first = error.errors()[0]
    # pydantic adds the branch of a union to the place: features.channel.int
    location = [str(part) for part in first["loc"] if str(part) not in ("int", "literal['mix']")]
    key = ".".join(location)
    where = f"{source}: " if source else ""
    if first["type"] == "extra_forbidden":
        known = _keys_beside(location)
        return UsageError(
            f"{where}unknown key {key!r}.{nearest(location[-1], known)}", f"Known here: {', '.join(known)}."
        )
    reason = "expected a number from 0, or mix" if location[-1:] == ["channel"] else first["msg"]
    reason = reason.removeprefix("Value error, ")
    given = "" if isinstance(first.get("input"), dict) else f" (given: {first.get('input')!r})"
    return UsageError(f"{where}{key}: {reason}{given}" if key else f"{where}{reason}")


def _keys_beside(location: list[str]) -> list[str]:
    """Return the keys that the table which holds the last part of `location` does know."""
    model: type[BaseModel] = Config
    for part in location[:-1]:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
