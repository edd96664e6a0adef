"""Settings: precedence, refusals with the nearest name, and the way through TOML and back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from asd.config import Config, DataConfig, FeatureSpec, feature_spec, load_config, parse_config, presets, read_preset
from asd.errors import UsageError


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('aggregate = "mean"\nfalse_alarm_rate = 0.02\n[features]\nchannel = 3\n')
    config = load_config(
        file, ["false_alarm_rate=0.03", "features.channel=2"], {"features.channel": 1, "aggregate": None}
    )
    assert (config.aggregate, config.false_alarm_rate, config.features.channel) == ("mean", 0.03, 1)


@pytest.mark.parametrize(
    ("assignment", "message", "hint"),
    [
        ("agregate=mean", "unknown key 'agregate'. Did you mean 'aggregate'?", "threads"),
        ("features.n_mel=64", "unknown key 'features.n_mel'. Did you mean 'n_mels'?", "hop_length"),
        ("aggregate=median", "aggregate: Input should be 'top', 'mean' or 'max'", ""),
        ("features.n_fft=1000", "n_fft = 1000 is not a power of two", ""),
        ("features.f_max=9000", "half the sample rate", ""),
        ("features.channel=-1", "counted from 0", ""),
        ("false_alarm_rate=nan", "false_alarm_rate", ""),
        ("aggregate.x=1", "aggregate", ""),
        ("aggregate", "expected key=value", "--set false_alarm_rate=0.02"),
    ],
)
def test_refusals_name_the_key(assignment: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(None, [assignment])
    assert message in caught.value.message
    assert hint in caught.value.hint


IDLE = {
    "views.stretch=1": ("contrastive", "variants.regions=0", "variants.gain=0"),
    'classifier.mixup="wave"': ("finetune", "views.alpha=0.4"),
    "classifier.mixup='wave'": ("finetune", "views.crop=true"),
    "classifier.frames=64": ("finetune", "views.stretch=0.5"),
    "views.crop=false": ("pretrain", "views.alpha=0"),
}
"""Settings of which one leaves the others, or all, without effect, with the preset that they are laid over."""


@pytest.mark.parametrize("last", IDLE)
def test_settings_without_effect_are_refused_with_a_way_out(last: str) -> None:
    preset, *others = IDLE[last]
    base = read_preset(preset)
    with pytest.raises(UsageError) as caught:
        load_config(None, [*others, last], base=base)
    ways = re.findall(r"--set ([\w.]+=[\w.]*\w)", caught.value.message)
    assert ways
    together = [ways[:-1], ways[-1:]] if "wave" in last else [[way] for way in ways]
    for way in together:
        assert load_config(None, [*others, last, *way], base=base)


def test_every_preset_is_consistent() -> None:
    for name in presets():
        assert load_config(base=read_preset(name)).method in ("baseline", "contrastive", "finetune", "pretrain")


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("a = = 1")
    for path in (file, tmp_path / "absent.toml"):
        with pytest.raises(UsageError, match=path.name):
            load_config(path)


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(
    st.builds(
        Config,
        aggregate=st.sampled_from(["top", "mean", "max"]),
        false_alarm_rate=st.floats(1e-6, 0.49),
        threads=st.none() | st.integers(1, 1024),
        data=st.builds(
            DataConfig, root=texts, machine=texts, ids=st.lists(texts).map(tuple), exclude=st.just(("a/b",))
        ),
        features=st.builds(FeatureSpec, channel=st.just("mix") | st.integers(0, 7), n_mels=st.integers(1, 512)),
    )
)
def test_toml_and_back(config: Config) -> None:
    import tomllib

    assert parse_config(tomllib.loads(config.to_toml())) == config


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        FeatureSpec().n_mels = 64  # type: ignore[misc]


def test_a_bad_spec_is_a_value_error_in_python_and_a_usage_error_on_the_command_line() -> None:
    with pytest.raises(ValueError, match="n_fft"):
        FeatureSpec(n_fft=1000)
    with pytest.raises(UsageError, match="n_fft"):
        feature_spec(n_fft=1000)


def test_frames_of_a_window() -> None:
    assert FeatureSpec().frames == 313
    assert FeatureSpec().clip_samples == 160_000
