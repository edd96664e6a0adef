"""Encoders, heads and costs, against torchvision's published counts, tables worked by hand, and plain numpy."""

# ruff: noqa: E402 -- without torch there is nothing to import

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

import safetensors.torch
from torch import nn
from torchvision.models import MobileNet_V2_Weights, ResNet50_Weights

from asd.models.cost import cost, training_bytes
from asd.models.encoders import NAMES, adapt_weights, build_encoder
from asd.models.heads import KINDS, SCALE_RANGE, Projection, build_head
from asd.models.mobilefacenet import stretch

BANDS, FRAMES = 32, 33

NORMS = ("batch", "group")
each_encoder = pytest.mark.parametrize("name", NAMES)
each_norm = pytest.mark.parametrize("norm", NORMS)
each_head = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def clips(count: int = 4, bands: int = BANDS, frames: int = FRAMES, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, bands, frames, generator=torch.Generator().manual_seed(seed))


def encoder(name: str, norm: str = "batch", bands: int = BANDS, frames: int = FRAMES, seed: int = 0):
    torch.manual_seed(seed)
    width = 0.25 if name == "mobilenetv2" else 1.0
    return build_encoder(name, bands, frames, width=width, norm=norm)


@cache
def in_use(name: str, norm: str = "batch"):
    """An encoder in eval mode whose statistics of batch normalisation have seen a batch; not to be changed."""
    built = encoder(name, norm)
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        built(clips(8, seed=9))
    return built.eval()


# Encoders


@each_norm
@each_encoder
def test_a_log_mel_becomes_an_embedding(name, norm):
    built = in_use(name, norm)
    with torch.no_grad():
        embedding = built(clips(3))
    assert embedding.shape == (3, built.embedding_size)
    assert embedding.dtype == torch.float32
    assert embedding.isfinite().all()
    assert (built.name, built.bands, built.frames) == (name, BANDS, FRAMES)
    assert (embedding[0] - embedding[1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("name", "weights", "classifier", "stem", "size"),
    [
        ("resnet50", ResNet50_Weights.IMAGENET1K_V1, 2048 * 1000 + 1000, 64 * 49, 2048),
        ("mobilenetv2", MobileNet_V2_Weights.IMAGENET1K_V1, 1280 * 1000 + 1000, 32 * 9, 1280),
    ],
)
def test_torchvision_networks_have_one_channel_and_no_classifier(name, weights, classifier, stem, size):
    built = build_encoder(name, 224, 224)
    published = weights.meta["num_params"] - classifier - 2 * stem
    assert cost(built).parameters == published
    assert built.embedding_size == size
    assert not [m for m in built.modules() if isinstance(m, nn.Dropout | nn.Linear)]
    # Published in 10^9 multiply-adds, at 224 x 224.
    expected = 2e9 * weights.meta["_ops"] - 2 * (classifier + 2 * stem * 112 * 112)
    assert cost(built).flops == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize(
    ("name", "bands", "size"),
    [("mobilenetv2", 128, 1280 * 4), ("mobilenetv2", 33, 1280 * 2), ("resnet50", 40, 2048 * 2)],
)
def test_pooling_over_time_and_frequency(name, bands, size):
    x_BFT = clips(3, bands)
    found = {}
    for pooling in ("mean", "statistics", "bands"):
        torch.manual_seed(0)
        built = build_encoder(name, bands, FRAMES, pooling=pooling).eval()
        with torch.no_grad():
            found[pooling] = built(x_BFT)
        assert found[pooling].shape == (3, built.embedding_size)
    assert found["bands"].shape[1] == size
    channels = found["mean"].shape[1]
    np.testing.assert_allclose(found["bands"].reshape(3, channels, -1).mean(2), found["mean"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["statistics"][:, :channels], found["mean"], rtol=1e-5, atol=1e-6)
    assert (found["statistics"][:, channels:] > 0).all()


def test_pooling_of_small_is_over_time():
    x_BFT = clips(3)
    built = build_encoder("small", BANDS, FRAMES, pooling="mean").eval()
    with torch.no_grad():
        maps_BC1T = built.net.second(built.net.first(x_BFT.unsqueeze(1).transpose(1, 2)))
        expected = built.net.embedding(maps_BC1T.mean((2, 3)))
        np.testing.assert_allclose(built(x_BFT), expected, rtol=1e-4, atol=1e-6)


def test_mobilefacenet_pools_by_its_convolution_alone():
    with pytest.raises(ValueError, match="convolution of its own"):
        build_encoder("mobilefacenet", BANDS, FRAMES, pooling="mean")
    with pytest.raises(ValueError, match="no pooling"):
        build_encoder("small", BANDS, FRAMES, pooling="max")


def test_width_scales_mobilenet():
    # Keras counts 706,224 for alpha = 0.5 without its top: with three input channels, and running statistics.
    half, full = build_encoder("mobilenetv2", 128, 64, width=0.5), build_encoder("mobilenetv2", 128, 64)
    running = sum(b.numel() for b in half.buffers() if b.dim())
    assert cost(half).parameters + running + 2 * 16 * 9 == 706_224
    assert half.embedding_size == full.embedding_size == 1280
    assert cost(half).flops < cost(full).flops / 2


def test_mobilefacenet_is_its_table():
    def layer(kernel_area: int, fan: int, width: int, prelu: bool = True) -> int:
        return kernel_area * fan * width + 2 * width + (width if prelu else 0)  # weights, normalisation, slopes

    def bottleneck(channels: int, hidden: int) -> int:
        return layer(1, channels, hidden) + layer(9, 1, hidden) + layer(1, hidden, 128, prelu=False)

    front = layer(9, 1, 64) + layer(9, 1, 64)
    middle = bottleneck(64, 128) + bottleneck(128, 256) + 4 * bottleneck(128, 512)
    back = layer(1, 128, 512) + layer(8 * 20, 1, 512, prelu=False) + layer(1, 512, 128, prelu=False)
    net = build_encoder("mobilefacenet", 128, 313)
    assert cost(net).parameters == front + middle + back

    def adds(channels: int, hidden: int, area_in: int, area_out: int) -> int:
        return channels * hidden * area_in + 9 * hidden * area_out + 128 * hidden * area_out

    a, b, c, d = 64 * 157, 32 * 79, 16 * 40, 8 * 20
    multiply_adds = 64 * 9 * a * 2 + adds(64, 128, a, b) + adds(128, 256, b, b)
    multiply_adds += adds(128, 512, b, c) + adds(128, 512, c, c) + adds(128, 512, c, d) + adds(128, 512, d, d)
    multiply_adds += 128 * 512 * d + 512 * d + 512 * 128
    assert cost(net).flops == 2 * multiply_adds

    kinds = [type(m) for m in net.modules()]
    assert kinds.count(nn.Conv2d) == 2 + 6 * 3 + 3
    assert kinds.count(nn.PReLU) == 2 + 6 * 2 + 1
    assert tuple(dict(net.named_parameters())["net.global_depthwise.weight"].shape) == (512, 1, 8, 20)


def test_mobilefacenet_has_a_residual_at_the_second_of_each_pair_only():
    net = in_use("mobilefacenet").net
    x = torch.randn(1, 64, 8, 8)
    for index, block in enumerate(list(net.features)[2:8]):
        with torch.no_grad():
            added = block(x) - block.layers(x) if index % 2 else None
            out = block(x)
        if added is None:
            assert torch.equal(out, block.layers(x))
        else:
            torch.testing.assert_close(added, x, atol=1e-5, rtol=1e-5)
        x = out


def test_small_is_two_convolutions_over_time_and_a_linear_layer():
    weights, embedding = 3 * 256 * (128 + 256), 512 * 128 + 128
    counted = cost(build_encoder("small", 128, 313))
    assert counted.parameters == weights + 2 * 2 * 256 + embedding
    assert counted.flops == 2 * (313 * weights + 512 * 128)


def test_small_tells_places_in_the_spectrum_apart():
    torch.manual_seed(0)
    built = build_encoder("small", 128, 50).eval()
    still, low, high = torch.zeros(3, 1, 128, 50)
    low[:, 40], high[:, 42] = 1, 1
    with torch.no_grad():
        still, low, high = (built(x)[0] for x in (still, low, high))
    assert (low - high).norm() > 0.5 * (low - still).norm()


def test_small_sees_no_level_of_a_band_that_all_clips_share():
    level, weights = 5 * torch.randn(BANDS, 1), torch.randn(128)
    embeddings, slopes = [], []
    for x in (clips(), clips() + level):
        built = encoder("small")
        embeddings.append(built(x))
        (embeddings[-1] @ weights).square().sum().backward()
        slopes.append(built.net.first[1].weight.grad)
    torch.testing.assert_close(*embeddings, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(*slopes, atol=1e-2 * float(slopes[0].abs().max()), rtol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mobilefacenet"])
@settings(max_examples=12, deadline=None)
@given(frames=st.integers(1, 80), norm=st.sampled_from(NORMS))
def test_any_number_of_frames(name, frames, norm):
    built = in_use(name, norm)
    with torch.no_grad():
        embedding = built(clips(2, frames=frames))
    assert embedding.shape == (2, built.embedding_size)
    assert embedding.isfinite().all()


@settings(max_examples=12, deadline=None)
@given(bands=st.integers(1, 70), frames=st.integers(1, 70))
def test_mobilefacenet_takes_the_shape_that_it_was_built_for_and_no_other(bands, frames):
    built = encoder("mobilefacenet", bands=bands, frames=frames).eval()
    with torch.no_grad():
        assert built(clips(1, bands, frames)).shape == (1, 128)
        with pytest.raises(ValueError, match=rf"\(clips, {bands}, {frames}\), not \(1, {bands}, {frames + 1}\)"):
            built(clips(1, bands, frames + 1))


@pytest.mark.parametrize("shape", [(2, BANDS + 1, FRAMES), (2, BANDS, 0), (BANDS, FRAMES), (2, 1, BANDS, FRAMES), ()])
@each_encoder
def test_other_shapes_are_refused(name, shape):
    with pytest.raises(ValueError, match=f"{name} takes log-mels of shape"):
        in_use(name)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "settings_", "message"),
    [
        (("resnet18", 128, 313), {}, "resnet18"),
        (("small", 128, 313), {"norm": "layer"}, "layer"),
        (("small", 0, 313), {}, "bands = 0"),
        (("mobilefacenet", 128, 0), {}, "frames = 0"),
        (("small", 128, 313), {"width": 0.5}, "only mobilenetv2 has a width"),
    ],
)
def test_unknown_encoders_are_refused(arguments, settings_, message):
    with pytest.raises(ValueError, match=message):
        build_encoder(*arguments, **settings_)


@each_encoder
def test_weights_come_from_torchs_generator(name):
    one, same, other = (encoder(name, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@each_norm
@each_encoder
def test_gradients_reach_every_parameter(name, norm):
    built = encoder(name, norm)
    embedding = built(clips(6))
    (embedding * clips(1, 6, built.embedding_size, seed=3)[0]).sum().backward()
    for key, parameter in built.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key


@each_encoder
def test_a_steady_clip_of_one_frame_has_a_gradient(name):
    built = encoder(name, "group", frames=1)
    built(clips(2, frames=1)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in built.parameters())


@each_norm
@each_encoder
def test_in_use_a_clip_does_not_see_its_company(name, norm):
    built, one, other = in_use(name, norm), clips(4), clips(4, seed=1)
    other[2] = one[2]
    with torch.no_grad():
        among, alone, moved = built(one)[2], built(one[2:3])[0], built(other)[2]
    assert (among - moved).norm() < 1e-3 * among.norm()
    assert (among - alone).norm() < 1e-3 * among.norm()


@each_norm
@each_encoder
def test_in_training_a_clip_sees_its_company_through_batch_norm_only(name, norm):
    built, one, other = encoder(name, norm), clips(4), clips(4, seed=1)
    other[2] = one[2]
    with torch.no_grad():
        difference = (built(one)[2] - built(other)[2]).abs().max()
    assert difference > 1e-2 if norm == "batch" else difference < 1e-4


@each_encoder
def test_group_norm_leaves_no_batch_norm(name):
    count = {norm: [type(m) for m in encoder(name, norm).modules()] for norm in NORMS}
    assert nn.BatchNorm2d in count["batch"]
    assert nn.GroupNorm not in count["batch"]
    assert nn.BatchNorm2d not in count["group"]
    assert count["group"].count(nn.GroupNorm) == count["batch"].count(nn.BatchNorm2d)
    groups = [m for m in encoder(name, "group").modules() if isinstance(m, nn.GroupNorm)]
    assert all(m.num_channels // m.num_groups in (8, 16) for m in groups)
    assert not list(encoder(name, "group").buffers())


@each_encoder
def test_channels_last_is_the_same_network(name):
    built = encoder(name).eval()
    with torch.no_grad():
        plain = built(clips())
        last = built.to(memory_format=torch.channels_last)(clips())
    torch.testing.assert_close(plain, last, atol=1e-3, rtol=1e-3)


@each_norm
@each_encoder
def test_embeddings_are_float32_under_autocast(name, norm):
    built = in_use(name, norm)
    with torch.no_grad():
        plain = built(clips())
        with torch.autocast("cpu", torch.bfloat16):
            rounded = built(clips())
    assert rounded.dtype == torch.float32
    assert not torch.equal(plain, rounded)
    if name in ("resnet50", "mobilenetv2"):  # averaged in float32
        assert not torch.equal(rounded, rounded.bfloat16().float())
    # Random weights with batch normalisation blow rounding up, layer after layer.
    assert torch.cosine_similarity(plain, rounded).min() > (0.99 if norm == "group" else 0.8)


@each_norm
@each_encoder
def test_weights_survive_a_file(name, norm):
    built = in_use(name, norm)
    stored = safetensors.torch.load(safetensors.torch.save(built.state_dict()))
    again = encoder(name, norm, seed=5).eval()
    again.load_state_dict(stored)
    with torch.no_grad():
        assert torch.equal(built(clips()), again(clips()))


# Weights of another T


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mobilefacenet"])
def test_most_weights_pass_to_any_number_of_frames(name):
    state = encoder(name).state_dict()
    adapted, remark = adapt_weights(encoder(name, frames=64), state, FRAMES)
    assert remark == ""
    assert all(adapted[key] is state[key] for key in state)


def test_mobilefacenets_kernel_is_stretched_and_this_is_said():
    source, target = encoder("mobilefacenet", frames=313), encoder("mobilefacenet", frames=64, seed=1)
    state, key = source.state_dict(), "net.global_depthwise.weight"
    adapted, remark = adapt_weights(target, state, 313)
    assert "313" in remark
    assert "64" in remark
    assert "20 to 4" in remark
    target.load_state_dict(adapted)
    assert tuple(adapted[key].shape) == (512, 1, 2, 4)
    assert tuple(state[key].shape) == (512, 1, 2, 20)
    assert all(adapted[other] is state[other] for other in state if other != key)
    torch.testing.assert_close(adapted[key].sum(3), state[key].sum(3), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("frames", [FRAMES, 48])
def test_a_kernel_of_equal_size_is_left_alone(frames):
    state = encoder("mobilefacenet").state_dict()
    adapted, remark = adapt_weights(encoder("mobilefacenet", frames=frames), state, FRAMES)
    assert remark == ""
    assert all(adapted[key] is state[key] for key in state)


@settings(max_examples=60, deadline=None)
@given(old=st.integers(1, 40), new=st.integers(1, 80), seed=st.integers(0, 99))
def test_stretching_keeps_the_sum_of_each_row(old, new, seed):
    kernel = torch.randn(3, 1, 2, old, generator=torch.Generator().manual_seed(seed))
    stretched = stretch(kernel, new)
    assert tuple(stretched.shape) == (3, 1, 2, new)
    assert stretched.dtype == torch.float32
    torch.testing.assert_close(stretched.sum(3), kernel.sum(3), atol=1e-5, rtol=1e-5)
    assert (stretch(kernel.abs(), new) >= 0).all()
    if new == old:
        torch.testing.assert_close(stretched, kernel)


def test_stretching_is_linear_interpolation():
    rng = np.random.default_rng(0)
    row = rng.standard_normal(10)
    # Centres of the new taps on the axis of the old ones; twice as many taps, each of half the weight.
    centres = (np.arange(20) + 0.5) / 2 - 0.5
    expected = np.interp(centres, np.arange(10), row) / 2
    stretched = stretch(torch.tensor(row).view(1, 1, 1, 10), 20).numpy().ravel()
    np.testing.assert_allclose(stretched, expected, atol=1e-12)


# Costs


@each_norm
@each_encoder
def test_counting_leaves_the_encoder_as_it_is(name, norm):
    built = encoder(name, norm)
    before = {key: tensor.clone() for key, tensor in built.state_dict().items()}
    assert cost(built) == cost(built.eval())
    assert all(torch.equal(tensor, before[key]) for key, tensor in built.state_dict().items())
    assert cost(built).flops > 0


def test_cost_grows_with_the_clip():
    short, long = (cost(build_encoder("small", 128, frames)) for frames in (160, 320))
    assert short.parameters == long.parameters
    assert long.flops == pytest.approx(2 * short.flops, rel=0.01)


# Heads

D, C = 6, 4


def head(kind: str, classes: int = C, seed: int = 0, **arguments):
    torch.manual_seed(seed)
    return build_head(kind, D, classes, **arguments)


def cosines_of(built, embedding: torch.Tensor) -> np.ndarray:
    x, w = embedding.double().numpy(), built.centres.detach().double().numpy()
    return (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T


def test_projection_is_a_mlp_onto_the_sphere():
    torch.manual_seed(0)
    built, x = Projection(D, 3), torch.randn(5, D)
    first, _, second = built.layers
    hidden = np.maximum(x.numpy() @ first.weight.detach().numpy().T + first.bias.detach().numpy(), 0)
    raw = hidden @ second.weight.detach().numpy().T + second.bias.detach().numpy()
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(built(x).detach().numpy(), expected, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        projected = built(x)
    assert projected.dtype == torch.float32
    torch.testing.assert_close(projected.norm(dim=1), torch.ones(5))


def test_softmax_is_a_linear_layer():
    built, x = head("softmax"), torch.randn(5, D)
    plain = x.numpy() @ built.linear.weight.detach().numpy().T + built.linear.bias.detach().numpy()
    np.testing.assert_allclose(built(x).detach().numpy(), plain, atol=1e-6)
    assert torch.equal(built(x), built(x, torch.zeros(5, dtype=torch.int64)))


@pytest.mark.parametrize(("kind", "subcentres"), [("arcface", 1), ("subcentre-arcface", 1), ("subcentre-arcface", 3)])
@settings(max_examples=40, deadline=None)
@given(scale=st.floats(1, 64), margin=st.floats(0, 3.1), seed=st.integers(0, 99))
def test_arcface_against_plain_numpy(kind, subcentres, scale, margin, seed):
    built = head(kind, seed=seed, scale=scale, margin=margin, subcentres=subcentres)
    x, labels = torch.randn(7, D), torch.randint(0, C, (7,))
    cosines = cosines_of(built, x).reshape(7, C, subcentres).max(2)
    np.testing.assert_allclose(built(x).detach().numpy(), scale * cosines, atol=scale * 1e-6)

    expected = cosines.copy()
    for row, label in enumerate(labels.tolist()):
        theta = np.arccos(cosines[row, label])
        within = theta + margin < np.pi
        expected[row, label] = np.cos(theta + margin) if within else np.cos(theta) - margin * np.sin(margin)
    near_pi = np.abs(np.arccos(cosines[np.arange(7), labels]) + margin - np.pi) < 1e-5
    logits = built(x, labels).detach().numpy()
    np.testing.assert_allclose(logits[~near_pi], scale * expected[~near_pi], atol=scale * 1e-5)


def around_the_circle(count: int) -> tuple[nn.Module, torch.Tensor, np.ndarray]:
    """ArcFace whose class 0 points along the first axis, and embeddings at angles from 0 to π to it."""
    built = head("arcface", scale=30.0, margin=0.7)
    with torch.no_grad():
        built.centres.copy_(torch.eye(C, D))
    theta = np.linspace(0, np.pi, count)
    x = np.zeros((count, D), np.float32)
    x[:, 0], x[:, -1] = np.cos(theta), np.sin(theta)
    return built, torch.tensor(x), theta


def test_the_labels_logit_falls_with_the_angle_from_0_to_pi():
    built, x, _ = around_the_circle(400)
    own = built(x, torch.zeros(400, dtype=torch.int64))[:, 0]
    assert (own.diff() < 1e-4).all()
    assert own[-1] < own[0] - 60


def test_the_logits_slope_is_that_of_the_formula():
    built, x, theta = around_the_circle(101)
    x.requires_grad_()
    built(x, torch.zeros(101, dtype=torch.int64))[:, 0].sum().backward()
    tangent = torch.tensor(np.stack([-np.sin(theta), np.cos(theta)], 1), dtype=torch.float32)
    slope = (x.grad[:, [0, -1]] * tangent).sum(1).numpy()
    expected = -30 * np.where(theta + 0.7 < np.pi, np.sin(theta + 0.7), np.sin(theta))
    np.testing.assert_allclose(slope[1:-1], expected[1:-1], atol=0.02)


@pytest.mark.parametrize("kind", ["arcface", "subcentre-arcface", "adacos"])
def test_gradients_are_finite_where_embedding_and_centre_coincide_or_oppose(kind):
    built = head(kind)
    per_class = len(built.centres) // C
    x = torch.cat([built.centres.detach()[::per_class], -built.centres.detach()[::per_class]]) * 3
    x.requires_grad_()
    labels = torch.arange(C).repeat(2)
    nn.functional.cross_entropy(built(x, labels), labels).backward()
    assert x.grad.isfinite().all()
    assert built.centres.grad.isfinite().all()
    assert built.centres.grad.abs().max() > 0


def test_only_the_nearest_subcentre_learns():
    built = head("subcentre-arcface", subcentres=3)
    x = torch.randn(1, D)
    nearest = cosines_of(built, x).reshape(C, 3).argmax(1)
    built(x)[0, 2].backward()
    moved = (built.centres.grad.abs().amax(1) > 0).nonzero().ravel().tolist()
    assert moved == [2 * 3 + nearest[2]]


def adacos_scale(scale: float, cosines: np.ndarray, labels: np.ndarray) -> float:
    """The next scale, by the formulas of Zhang et al."""
    rows = np.arange(len(labels))
    mask = np.ones_like(cosines)
    mask[rows, labels] = 0
    b = (mask * np.exp(scale * cosines)).sum(1).mean()
    median = np.sort(np.arccos(cosines[rows, labels]))[(len(labels) - 1) // 2]
    return math.log(b) / math.cos(min(math.pi / 4, median))


def test_adacos_follows_the_paper():
    built = head("adacos", classes=50)
    scale = math.sqrt(2) * math.log(49)
    assert float(built.scale) == pytest.approx(scale)
    for step in range(6):
        labels = torch.randint(0, 50, (8,))
        x = built.centres.detach()[labels] + (1 - step / 6) * 0.5 * torch.randn(8, D)
        cosines = cosines_of(built, x)
        scale = adacos_scale(scale, cosines, labels.numpy())
        built.follow(x, labels)
        np.testing.assert_allclose(built(x, labels).detach().numpy(), scale * cosines, rtol=1e-3, atol=1e-4)
        assert float(built.scale) == pytest.approx(scale, rel=1e-4)


def test_adacos_scale_moves_where_it_follows_a_batch_only():
    built, x, labels = head("adacos"), torch.randn(5, D), torch.zeros(5, dtype=torch.int64)
    before = float(built.scale)
    built(x)
    built(x, labels)
    assert float(built.scale) == before
    built.follow(x, labels)
    assert float(built.scale) != before
    assert not built.scale.requires_grad
    assert "scale" in built.state_dict()


def test_two_batches_before_one_backward_pass():
    built, x, labels = head("adacos"), torch.randn(5, D, requires_grad=True), torch.arange(5) % C
    logits = built(x, labels).sum()
    built.follow(-x, labels)
    (logits + built(-x, labels).sum()).backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("towards", ["own", "others", "all"])
def test_adacos_scale_stays_within_bounds_however_the_clips_lie(classes, towards):
    built = head("adacos", classes=classes)
    labels = torch.arange(8) % classes
    with torch.no_grad():
        if towards == "all":
            built.centres.copy_(torch.ones(classes, D))
        x = built.centres[labels] * (1 if towards == "own" else -1 if towards == "others" else 1)
    for _ in range(2000 if towards == "all" else 50):
        built.follow(x, labels)
        logits = built(x, labels)
    assert SCALE_RANGE[0] - 1e-6 <= float(built.scale) <= SCALE_RANGE[1]
    assert logits.isfinite().all()


@each_head
def test_a_head_learns_to_tell_classes_apart(kind):
    built = head(kind, classes=2)
    x = torch.cat([torch.randn(16, D) + 2, torch.randn(16, D) - 2])
    labels = torch.arange(2).repeat_interleave(16)
    optimiser = torch.optim.Adam(built.parameters(), 0.05)
    for _ in range(60):
        optimiser.zero_grad()
        built.follow(x, labels)
        nn.functional.cross_entropy(built(x, labels), labels).backward()
        optimiser.step()
    assert (built.eval()(x).argmax(1) == labels).all()


@each_head
def test_logits_are_float32_under_autocast(kind):
    built, x, labels = head(kind).eval(), torch.randn(5, D), torch.arange(5) % C
    plain = built(x, labels)
    with torch.autocast("cpu", torch.bfloat16):
        logits, rounded = built(x, labels), built(x.bfloat16(), labels)
    assert logits.dtype == rounded.dtype == torch.float32
    assert torch.equal(plain, logits)
    assert torch.equal(built(x.bfloat16().float(), labels), rounded)


@each_head
def test_weights_of_heads_survive_a_file(kind):
    built, x = head(kind), torch.randn(5, D)
    built.follow(x, torch.arange(5) % C)
    again = head(kind, seed=1)
    again.load_state_dict(safetensors.torch.load(safetensors.torch.save(built.state_dict())))
    assert torch.equal(built(x), again(x))


@each_head
def test_one_class_is_refused(kind):
    with pytest.raises(ValueError, match="at least two"):
        head(kind, classes=1)


def test_unknown_heads_are_refused():
    with pytest.raises(ValueError, match="cosface"):
        head("cosface")


@pytest.mark.parametrize("name", ["small", "mobilenetv2"])
def test_training_takes_the_memory_that_is_found_without_it(name: str) -> None:
    """What a real pass keeps, but weights; a measurement of the storages that live when it has ended."""
    built = encoder(name).train()
    x_BFT = torch.randn(3, built.bands, built.frames)
    weights = {t.untyped_storage().data_ptr() for t in built.state_dict().values()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        built(x_BFT)
    measured = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in weights)
    assert 3 * training_bytes(built, built.frames) == pytest.approx(measured, rel=0.02)
    assert training_bytes(built, 2 * built.frames) == pytest.approx(2 * training_bytes(built, built.frames), rel=0.2)


def test_training_resnet50_takes_gigabytes() -> None:
    """2,116 MB a batch of 32, as measured."""
    with torch.device("meta"):
        built = build_encoder("resnet50", 128, 313)
    assert 32 * training_bytes(built, 313) / 2**20 == pytest.approx(2116, rel=0.005)
