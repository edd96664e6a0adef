"""Momentum contrast: the loss against a plain reference, the queue as a ring, keys that tell nothing of a batch."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from asd.config import Config, OptimiserConfig, VariantsConfig, ViewsConfig
from asd.models.encoders import build_encoder
from asd.models.moco import EMPTY, Branch, MoCo, Queue
from asd.train.contrastive import Classes, Contrastive
from asd.train.draws import Purpose, generator
from asd.train.held import Held
from asd.train.supply import Views

BANDS, FRAMES, SIZE, QUEUE = 4, 6, 5, 64


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


class Tiny(nn.Module):
    """An encoder with the leak in question: batch normalisation."""

    embedding_size = 8

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(BANDS * FRAMES, 8)
        self.norm = nn.BatchNorm1d(8) if norm else nn.Identity()

    def forward(self, x_BFT: Tensor) -> Tensor:
        return torch.tanh(self.norm(self.linear(x_BFT.flatten(1))))


def moco_of(encoder: nn.Module | None = None, queue: int = QUEUE, momentum: float = 0.9, temperature: float = 0.07):
    return MoCo(encoder or Tiny(), projection=SIZE, queue_size=queue, momentum=momentum, temperature=temperature)  # type: ignore[arg-type]


NOTHING_HELD = Held(
    np.empty((0, BANDS, FRAMES), np.float32), np.empty((2, 0, BANDS, FRAMES), np.float32), np.empty(0, np.int64)
)


def task_of(
    moco: MoCo, classes: Classes | None = None, *, seed: int = 0, regions: int = 0, gain: float = 0.0
) -> Contrastive:
    config = Config(
        seed=seed,
        views=ViewsConfig(alpha=0, crop=False),
        variants=VariantsConfig(regions=regions, gain=gain),
        optimiser=OptimiserConfig(precision="float32"),
    )
    return Contrastive(moco, config, classes, NOTHING_HELD)


def batch_of(files: Sequence[int], seed: int = 0) -> Views:
    rng = np.random.default_rng(seed)
    views_VBFT = torch.from_numpy(rng.normal(size=(2, len(files), BANDS, FRAMES)).astype(np.float32))
    return Views(views_VBFT, torch.tensor(files), np.asarray(files), np.asarray(files), 0)


def unit(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    x_ND = rng.normal(size=(count, SIZE))
    return x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)


# The key network


def test_keys_carry_no_gradient() -> None:
    moco = moco_of()
    x_BFT = batch_of(range(8)).views_VBFT[0].requires_grad_()
    moco.queue.push(torch.from_numpy(unit(np.random.default_rng(1), 8)).float(), torch.arange(8) + 8, torch.arange(8))
    keys_BD = moco.keys(x_BFT, torch.arange(8))
    assert not keys_BD.requires_grad
    assert not any(p.requires_grad for p in moco.key.parameters())
    found = moco.contrast(moco.query(x_BFT), keys_BD, torch.arange(8), None, torch.ones(8))
    found.loss.backward()
    assert all(p.grad is None for p in moco.key.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in moco.query.head.parameters())


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99, 0.999])
def test_the_key_network_follows_by_equation_2(momentum: float) -> None:
    """θ_k ← m·θ_k + (1−m)·θ_q of arXiv 2509.15570."""
    moco = moco_of(momentum=momentum)
    for parameter in moco.query.parameters():
        nn.init.normal_(parameter)
    theta_q = [p.detach().double().numpy().copy() for p in moco.query.parameters()]
    theta_k = [p.detach().double().numpy().copy() for p in moco.key.parameters()]
    for _ in range(3):
        moco.follow()
        theta_k = [momentum * k + (1 - momentum) * q for k, q in zip(theta_k, theta_q, strict=True)]
    for parameter, wanted in zip(moco.key.parameters(), theta_k, strict=True):
        np.testing.assert_allclose(parameter.numpy(), wanted, atol=1e-6)
    for parameter, before in zip(moco.query.parameters(), theta_q, strict=True):
        np.testing.assert_array_equal(parameter.detach().numpy(), before.astype(np.float32))


def test_the_key_network_follows_before_the_keys_are_computed() -> None:
    moco = moco_of(Tiny(norm=False), momentum=0.5)
    for parameter in moco.query.parameters():
        nn.init.normal_(parameter)
    stale = copy.deepcopy(moco.key)
    followed = copy.deepcopy(moco)
    followed.follow()
    task, batch = task_of(moco), batch_of(range(16))
    task.loss(batch, 0)
    task.after_step()
    pushed_BD, second_BFT = moco.queue.keys_KD[:16], batch.views_VBFT[1]
    torch.testing.assert_close(pushed_BD, followed.key(second_BFT), atol=1e-6, rtol=0)
    assert (pushed_BD - stale(second_BFT)).abs().max() > 0.01


def test_both_begin_alike() -> None:
    moco = moco_of()
    for query, key in zip(moco.query.parameters(), moco.key.parameters(), strict=True):
        assert query.data_ptr() != key.data_ptr()
        assert torch.equal(query, key)


# The loss


def reference(
    queries_AD: NDArray[np.float64],
    own_AD: NDArray[np.float64],
    files: Sequence[int],
    sections: Sequence[int] | None,
    queue: Sequence[tuple[NDArray[np.float64], int, int]],
    temperature: float,
) -> float:
    """The loss as it is written down, a term at a time."""
    losses = []
    for a, (query, own) in enumerate(zip(queries_AD, own_AD, strict=True)):
        positive = math.exp(float(query @ own) / temperature)
        positives, negatives = [positive], []
        for key, file, section in queue:
            term = math.exp(float(query @ key) / temperature)
            if sections is None:
                if file != files[a]:
                    negatives.append(term)
            elif section == sections[a]:
                positives.append(term)
            else:
                negatives.append(term)
        if negatives:
            total = math.fsum(positives + negatives)
            losses.append(-math.fsum(math.log(p / total) for p in positives) / len(positives))
    return math.fsum(losses) / len(losses) if losses else 0.0


situations = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "pushes": st.integers(0, 5),
        "files": st.integers(1, 12),
        "sections": st.integers(1, 4),
        "temperature": st.sampled_from([0.05, 0.07, 0.2, 1.0]),
        "conditioned": st.booleans(),
    }
)


def played(seed: int, pushes: int, files: int, sections: int, temperature: float, conditioned: bool):
    """A MoCo whose queue of 24 was pushed to, anchors, and the loss by the reference."""
    rng = np.random.default_rng(seed)
    moco = moco_of(queue=24, temperature=temperature).double()
    section_F = rng.integers(0, sections, files)
    ring: deque[tuple[NDArray[np.float64], int, int]] = deque(maxlen=24)
    for _ in range(pushes):
        keys_BD, files_B = unit(rng, 6), rng.integers(0, files, 6)
        moco.queue.push(torch.from_numpy(keys_BD), torch.from_numpy(files_B), torch.from_numpy(section_F[files_B]))
        ring.extend(zip(keys_BD, files_B.tolist(), section_F[files_B].tolist(), strict=True))
    queries_AD, own_AD, files_A = unit(rng, 7), unit(rng, 7), rng.integers(0, files, 7)
    sections_A = section_F[files_A].tolist() if conditioned else None
    wanted = reference(queries_AD, own_AD, files_A.tolist(), sections_A, ring, temperature)
    anchors = (
        torch.from_numpy(queries_AD).requires_grad_(),
        torch.from_numpy(own_AD),
        torch.from_numpy(files_A),
        torch.tensor(sections_A) if conditioned else None,
        torch.ones(7, dtype=torch.float64),
    )
    return moco, anchors, wanted


@given(situations)
@settings(max_examples=150, deadline=None)
def test_the_loss_is_the_formula(situation) -> None:
    """Over empty, filling and overrun queues, repeated files and few sections, or one."""
    moco, anchors, wanted = played(**situation)
    found = moco.contrast(*anchors)
    assert found.loss.item() == pytest.approx(wanted, abs=1e-6)
    moco.float()
    single = [x.detach().float() if x is not None and x.is_floating_point() else x for x in anchors]
    rounding = 1e-6 * (1 + 1 / situation["temperature"])
    assert float(moco.contrast(*single).loss) == pytest.approx(wanted, abs=rounding)


@given(situations)
@settings(max_examples=40, deadline=None)
def test_what_is_masked_does_not_matter(situation) -> None:
    """Neither what lies in places that hold no key, nor, for an anchor, keys of its own recording."""
    moco, (queries_AD, own_AD, files_A, sections_A, _), _ = played(**situation)
    queue = moco.queue
    for a in range(len(files_A)):
        anchor = queries_AD[a : a + 1], own_AD[a : a + 1], files_A[a : a + 1]
        section = None if sections_A is None else sections_A[a : a + 1]
        weight = torch.ones(1, dtype=torch.float64)
        before = moco.contrast(*anchor, section, weight)
        kept_KD = queue.keys_KD.clone()
        hidden_K = queue.files_K == EMPTY
        if sections_A is None:
            hidden_K = hidden_K | (queue.files_K == files_A[a])
        queue.keys_KD[hidden_K] = 3.0
        after = moco.contrast(*anchor, section, weight)
        queue.keys_KD[:] = kept_KD
        assert (before.loss, before.negative) == (after.loss, after.negative)


def test_of_the_same_section_nothing_is_a_negative() -> None:
    """An anchor gains from keys of its section coming nearer, and from all others going away."""
    rng = np.random.default_rng(0)
    moco = moco_of(queue=4).double()
    moco.queue.push(torch.from_numpy(unit(rng, 4)), torch.tensor([1, 2, 3, 1]), torch.tensor([0, 0, 1, 1]))
    moco.queue.keys_KD.requires_grad_()
    query_AD = torch.from_numpy(unit(rng, 1))
    for files, section, signs in ((9, 0, "--++"), (9, 1, "++--"), (1, 0, "--++"), (9, 7, "++++"), (9, None, "++++")):
        moco.queue.keys_KD.grad = None
        sections_A = None if section is None else torch.tensor([section])
        found = moco.contrast(query_AD, query_AD, torch.tensor([files]), sections_A, torch.ones(1).double())
        found.loss.backward()
        assert moco.queue.keys_KD.grad is not None
        slope_K = moco.queue.keys_KD.grad @ query_AD[0]
        # A positive's own slope is softmax − 1/positives; its sign needs a softmax below that, as here.
        assert "".join("+" if s > 0 else "-" for s in slope_K.tolist()) == signs
    moco.queue.keys_KD.grad = None
    moco.contrast(query_AD, query_AD, torch.tensor([1]), None, torch.ones(1).double()).loss.backward()
    assert moco.queue.keys_KD.grad is not None
    assert (moco.queue.keys_KD.grad.abs().sum(1) == 0).tolist() == [True, False, False, True]


def test_a_class_conditioned_step_without_a_negative_has_no_loss() -> None:
    rng = np.random.default_rng(0)
    moco = moco_of(queue=8)
    x_BFT, files_B = batch_of(range(8)).views_VBFT[0], torch.arange(8)
    sections_B = torch.zeros(8, dtype=torch.int64)
    for _ in range(2):  # an empty queue, then one of nothing but the own section
        moco.zero_grad()
        found = moco.contrast(moco.query(x_BFT), moco.keys(x_BFT, files_B), files_B, sections_B, torch.ones(8))
        found.loss.backward()
        assert found.loss == 0
        assert all(p.grad is not None and not p.grad.any() for p in moco.query.parameters())
        moco.queue.push(torch.from_numpy(unit(rng, 8)).float(), files_B, sections_B)


def test_only_anchors_with_a_negative_and_a_weight_count() -> None:
    rng = np.random.default_rng(0)
    moco = moco_of(queue=4).double()
    moco.queue.push(torch.from_numpy(unit(rng, 4)), torch.arange(4), torch.tensor([1, 1, 1, 1]))
    queries_AD, own_AD = torch.from_numpy(unit(rng, 4)), torch.from_numpy(unit(rng, 4))
    files_A, sections_A = torch.arange(4), torch.tensor([0, 0, 1, 0])
    weight_A = torch.tensor([1.0, 1.0, 1.0, 0.0]).double()
    found = moco.contrast(queries_AD, own_AD, files_A, sections_A, weight_A)
    two = moco.contrast(queries_AD[:2], own_AD[:2], files_A[:2], sections_A[:2], torch.ones(2).double())
    assert float(found.loss) == pytest.approx(float(two.loss), abs=1e-12)
    cosines_AK = queries_AD[:2] @ moco.queue.keys_KD.T
    assert float(found.negative) == pytest.approx(float(cosines_AK.mean()), abs=1e-12)
    assert float(found.positive) == pytest.approx(float((queries_AD * own_AD).sum(1)[:3].mean()), abs=1e-12)


# The queue


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 13))
def test_the_queue_is_a_ring(count: int, rounds: int, pushes: int) -> None:
    queue = Queue(count * rounds, 1)
    kept: deque[int] = deque(maxlen=count * rounds)
    for push in range(pushes):
        new_B = torch.arange(push * count, (push + 1) * count)
        queue.push(new_B[:, None].float(), new_B, new_B % 3)
        kept.extend(new_B.tolist())
    filled_K = queue.files_K != EMPTY
    assert sorted(queue.files_K[filled_K].tolist()) == list(kept)
    assert queue.keys_KD[filled_K, 0].tolist() == queue.files_K[filled_K].tolist()
    assert torch.equal(queue.sections_K[filled_K], queue.files_K[filled_K] % 3)
    # The next place is that of the oldest key, and they lie in the order in which they came.
    from_oldest = torch.roll(queue.files_K, -int(queue.at)).tolist()
    assert [file for file in from_oldest if file != EMPTY] == list(kept)


def test_a_queue_that_steps_do_not_fill_evenly_is_refused() -> None:
    with pytest.raises(ValueError, match="queue_size 20 is not a multiple of the 8 keys"):
        Queue(20, 2).push(torch.zeros(8, 2), torch.zeros(8, dtype=torch.int64), torch.zeros(8, dtype=torch.int64))


def test_keys_enter_the_queue_after_the_loss() -> None:
    """No query is compared with what its own step brings."""
    moco = moco_of()
    task = task_of(moco)
    loss, _ = task.loss(batch_of(range(8)), 0)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)  # nothing to compare with
    assert (moco.queue.files_K == EMPTY).all()
    loss.backward()
    task.after_step()
    assert moco.queue.files_K[:9].tolist() == [*range(8), EMPTY]
    loss, _ = task.loss(batch_of(range(8, 16)), 1)
    assert loss > 0.5
    assert moco.queue.files_K[8] == EMPTY


# Batch normalisation tells nothing


class Noting(nn.Module):
    """In place of a network: notes which rows come together, by the number that each is filled with."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[list[int]] = []

    def forward(self, x_BFT: Tensor) -> Tensor:
        self.groups.append(x_BFT[:, 0, 0].int().tolist())
        return x_BFT[:, 0, :1].expand(-1, SIZE)


def numbered(count: int) -> Tensor:
    return torch.arange(count).float()[:, None, None].expand(-1, BANDS, FRAMES)


@pytest.mark.parametrize(
    ("batch", "sizes"),
    [(3, [3]), (4, [2, 2]), (8, [4, 4]), (15, [8, 7]), (16, [8, 8]), (20, [10, 10]), (64, [8] * 8), (128, [16] * 8)],
)
def test_keys_are_encoded_in_groups_of_an_eighth_eight_clips_each_or_half_the_batch(
    batch: int, sizes: list[int]
) -> None:
    moco = moco_of()
    moco.key = Noting()  # type: ignore[assignment]
    order_B = torch.from_numpy(np.random.default_rng(0).permutation(batch))
    keys_BD = moco.keys(numbered(batch), order_B)
    assert [len(group) for group in moco.key.groups] == sizes
    assert [row for group in moco.key.groups for row in group] == order_B.tolist()
    assert keys_BD[:, 0].tolist() == list(range(batch))  # back in the order of the rows


def test_the_permutation_decides_who_shares_statistics() -> None:
    moco = moco_of()
    moco.train()
    x_BFT = batch_of(range(32)).views_VBFT[1]
    rng = np.random.default_rng(0)
    first, second = rng.permutation(32), rng.permutation(32)
    keys_BD = moco.keys(x_BFT, torch.from_numpy(first))
    by_hand_BD = torch.empty_like(keys_BD)
    for group in first.reshape(4, 8):
        by_hand_BD[group] = moco.key(x_BFT[group])
    torch.testing.assert_close(keys_BD, by_hand_BD, atol=1e-6, rtol=0)
    same_groups = np.concatenate([rng.permutation(group) for group in first.reshape(4, 8)[::-1]])
    torch.testing.assert_close(moco.keys(x_BFT, torch.from_numpy(same_groups)), keys_BD, atol=1e-5, rtol=0)
    assert (moco.keys(x_BFT, torch.from_numpy(second)) - keys_BD).norm(dim=1).min() > 1e-3
    # A query sees all of its batch, so its statistics are none of the keys'.
    assert (moco.query(x_BFT) - keys_BD).norm(dim=1).min() > 1e-3


def groups_over(steps: range, batch: int, seed: int = 0) -> list[list[list[int]]]:
    """The groups in which a training encodes keys, step by step."""
    moco = moco_of(queue=batch)
    noting = moco.key = Noting()  # type: ignore[assignment]
    moco.follow = lambda: None  # type: ignore[method-assign]
    task, found = task_of(moco, seed=seed), []
    batch_ = Views(numbered(batch).expand(2, -1, -1, -1), torch.arange(batch), np.arange(batch), np.arange(batch), 0)
    for step in steps:
        noting.groups = []
        task.loss(batch_, step)
        found.append(noting.groups)
    return found


@pytest.mark.parametrize(("batch", "group"), [(8, 4), (12, 6), (16, 8), (32, 8)])
def test_company_among_keys_is_independent_of_company_among_queries(batch: int, group: int) -> None:
    """Every two rows of a batch meet in a group of keys as often as chance has it, wherever they lie in the batch."""
    steps = 800
    together_BB = np.zeros((batch, batch))
    for groups in groups_over(range(steps), batch):
        for rows in groups:
            together_BB[np.ix_(rows, rows)] += 1
    assert (np.diag(together_BB) == steps).all()
    share = (group - 1) / (batch - 1)
    pairs = together_BB[np.triu_indices(batch, 1)] / steps
    deviation = math.sqrt(share * (1 - share) / steps)
    assert pairs.mean() == pytest.approx(share, abs=1e-12)  # whatever the permutations
    assert np.abs(pairs - share).max() < 5 * deviation
    # Not too even either: a fixed schedule of groups would be no chance.
    assert pairs.std() == pytest.approx(deviation, rel=0.2)


def test_each_seed_and_step_has_a_permutation_of_its_own() -> None:
    found = [groups for seed in (0, 1, 2) for groups in groups_over(range(20), 16, seed)]
    assert len({str(groups) for groups in found}) == len(found)
    assert groups_over(range(20), 16, 1) == found[20:40]
    assert groups_over(range(7, 9), 16, 1) == found[27:29]  # whatever was drawn before


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**39), st.sampled_from(list(Purpose)), st.integers(0, 255))
def test_draws_are_a_function_of_seed_step_purpose_and_rank(seed: int, step: int, purpose: Purpose, rank: int) -> None:
    drawn = generator(seed, step, purpose, rank).integers(0, 2**63, 2).tolist()
    assert drawn == generator(seed, step, purpose, rank).integers(0, 2**63, 2).tolist()
    others = [
        generator(seed, step + 1, purpose, rank),
        generator(seed ^ 1, step, purpose, rank),
        generator(seed, step, Purpose((purpose + 1) % len(Purpose)), rank),
        generator(seed, step, purpose, rank ^ 1),
    ]
    assert all(other.integers(0, 2**63, 2).tolist() != drawn for other in others)


# Class-conditioned training of one section


def test_only_rows_of_the_anchor_pass_the_query_network() -> None:
    moco = moco_of(queue=32)
    asked, keyed = Noting(), Noting()
    moco.query, moco.key = asked, keyed  # type: ignore[assignment]
    moco.follow = lambda: None  # type: ignore[method-assign]
    sections = [0, 1, 0, 2] * 4
    moco.register_parameter("somewhere", nn.Parameter(torch.zeros(1)))
    task = task_of(moco, Classes(sections, anchor=0))
    batch = Views(numbered(16).expand(2, -1, -1, -1), torch.arange(16), np.arange(16), np.arange(16), 0)
    task.loss(batch, 0)
    task.after_step()
    assert asked.groups == [[0, 2, 4, 6, 8, 10, 12, 14]]
    assert sorted(row for group in keyed.groups for row in group) == list(range(16))
    assert moco.queue.files_K[:16].tolist() == list(range(16))
    assert moco.queue.sections_K[:16].tolist() == sections


@pytest.mark.parametrize("anchors", [0, 1])
def test_a_batch_of_hardly_an_anchor_takes_others_in_for_company(anchors: int) -> None:
    """Batch normalisation needs two rows; the one that stands in adds nothing to the loss."""
    moco = moco_of(queue=16)
    task = task_of(moco, Classes([1, 1, 0, 1, 1, 1, 1, 1], anchor=0))
    files = [0, 1, 2, 3, 4, 5, 6, 7] if anchors else [0, 1, 7, 3, 4, 5, 6, 7]
    for step in range(2):
        batch = batch_of(files, step)
        loss, _ = task.loss(batch, step)
        task.after_step()
    rows = [2, 0] if anchors else [0, 1]
    query_D = copy.deepcopy(moco.query)(batch.views_VBFT[0][rows])[0].double().detach().numpy()
    own_D = moco.queue.keys_KD[8 + rows[0]].double().numpy()
    sections = [0 if file == 2 else 1 for file in files]
    queue = [(key.double().numpy(), f, s) for key, f, s in zip(moco.queue.keys_KD[:8], files, sections, strict=True)]
    wanted = reference(query_D[None], own_D[None], [2], [0], queue, 0.07) if anchors else 0.0
    assert loss.item() == pytest.approx(wanted, abs=1e-5)


@given(st.lists(st.booleans(), min_size=2, max_size=40))
def test_anchors_are_the_rows_that_sorting_on_the_device_would_give(own: list[bool]) -> None:
    task = task_of(moco_of(queue=16), Classes([1, 0], anchor=0))
    own_B = torch.tensor(own)
    wanted_A = own_B.int().argsort(descending=True, stable=True)[: max(2, int(own_B.sum()))]
    rows_A, weight_A = task._anchors(own_B.long().numpy())
    assert rows_A is not None
    assert torch.equal(rows_A, wanted_A)
    assert torch.equal(weight_A, own_B[wanted_A].float())


class NoAnswer(TorchDispatchMode):
    """Refuses what would wait for a GPU: numbers and sizes that are known only when it has got that far."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("classes", [None, Classes([0, 1] * 4), Classes([0, 1] * 4, anchor=0)])
def test_a_step_asks_the_device_nothing(classes: Classes | None) -> None:
    task = task_of(moco_of(queue=16), classes, regions=3)
    batch = batch_of(range(8))
    with NoAnswer():
        loss, _ = task.loss(batch, 0)
        loss.backward()
        task.after_step()
    with pytest.raises(AssertionError), NoAnswer():
        int(loss)


def test_without_an_anchor_all_rows_pass_the_query_network() -> None:
    moco = moco_of(queue=16)
    asked = moco.query = Noting()  # type: ignore[assignment]
    moco.follow = lambda: None  # type: ignore[method-assign]
    task_of(moco, Classes([0, 1] * 8)).loss(
        Views(numbered(16).expand(2, -1, -1, -1), torch.arange(16), np.arange(16), np.arange(16), 0), 0
    )
    assert asked.groups == [list(range(16))]


def test_a_batch_without_the_anchor_has_no_loss_and_still_brings_keys() -> None:
    moco = moco_of(queue=16)
    task = task_of(moco, Classes([0, 1, 1, 1, 1, 1, 1, 1, 1], anchor=0))
    for step in range(2):
        loss, _ = task.loss(batch_of(range(1, 9)), step)
        loss.backward()
        task.after_step()
        assert loss == 0
        assert all(p.grad is None or not p.grad.any() for p in moco.query.parameters())
    assert moco.queue.files_K.tolist() == [*range(1, 9)] * 2


def test_variants_are_classes_of_their_own() -> None:
    """Of a recording with another bump, keys are negatives; with the same, positives."""
    moco = moco_of(queue=16)
    task = task_of(moco, regions=3)
    task.loss(batch_of([5] * 16), 0)
    task.after_step()
    found = moco.queue.sections_K
    assert set(found.tolist()) == {20, 21, 22, 23}
    loss, _ = task.loss(batch_of([5] * 16), 1)
    assert loss > 0


def test_a_level_needs_no_variants_and_changes_no_class() -> None:
    kept = []
    for gain in (0.0, 0.5):
        torch.manual_seed(0)
        moco = moco_of(Tiny(norm=False), queue=16)
        task = task_of(moco, gain=gain)
        task.loss(batch_of(range(16)), 0)
        task.after_step()
        kept.append(moco.queue.keys_KD)
        assert moco.queue.sections_K.tolist() == list(range(16))
    assert (kept[0] - kept[1]).norm(dim=1).min() > 1e-3


def test_small_trains_in_float32_and_bfloat16() -> None:
    """Projections are compared as float32 whatever the network computes in."""
    losses = []
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        moco = moco_of(build_encoder("small", BANDS, FRAMES))
        config = Config(optimiser=OptimiserConfig(precision=precision), views=ViewsConfig(alpha=0, crop=False))
        task = Contrastive(moco, config, None, NOTHING_HELD)
        for step in range(2):
            loss, _ = task.loss(batch_of(range(8 * step, 8 * step + 8), step), step)
            task.after_step()
        assert loss.dtype == moco.queue.keys_KD.dtype == torch.float32
        assert isinstance(moco.query, Branch)
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
