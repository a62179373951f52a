"""Minimax's losses, memories and the variance's bound against slow twins; DiffFit's count, folding and ties."""

import copy
import math
from collections import defaultdict

import pytest
import torch
from diffusers import DiTTransformer2DModel
from scipy.stats import norm
from support import tiny
from torch.distributions import Normal, kl_divergence

from potstill.core.errors import PotstillError
from potstill.core.processes import Processes
from potstill.priors import Prior
from potstill.priors.diffit import fold, prepare, require_one_embedder
from potstill.priors.minimax import Memory, Minimax, diversity, representativeness
from potstill.priors.tuning import Batch, State, diffusion_loss
from potstill.priors.variance import variance_bound, variance_table


def remembering(vectors, labels, classes=3, size=4):
    memory = Memory(
        torch.zeros(classes, size, vectors.shape[1], dtype=vectors.dtype), torch.zeros(classes).long()
    )
    memory.push(vectors, labels)
    return memory


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def slow(vectors, labels, memory, term):
    """The sum over the batch's classes of a term of all cosines, divided by the number of these classes."""
    own = defaultdict(list)
    for vector, label in zip(vectors.tolist(), labels.tolist(), strict=True):
        own[label].append(vector)
    total = 0.0
    for label, mine in own.items():
        held = memory.items[label, : int(memory.pushed[label])].tolist()
        found = [cosine(one, other) for one in mine for other in held]
        total += term(found) if found else 0.0
    return total / len(own)


def test_the_losses_by_hand():
    memory = remembering(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 0]))
    slope = torch.tensor([[1.0, 1.0]])
    east = torch.tensor([[5.0, 0.0]])
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert representativeness(slope, zero, memory).item() == pytest.approx(1 - 0.5**0.5)
    assert diversity(slope, zero, memory).item() == pytest.approx(0.5**0.5)
    assert representativeness(east, zero, memory).item() == 1 and diversity(east, zero, memory).item() == 1
    assert representativeness(-east, zero, memory).item() == 2 and diversity(-east, zero, memory).item() == 0
    assert representativeness(east, one, memory).item() == 0 and diversity(east, one, memory).item() == 0
    both, labels = torch.cat([east, east]), torch.tensor([0, 1])
    assert diversity(both, labels, memory).item() == 0.5, "a class without memory still counts as a class"


@pytest.mark.parametrize("seed", range(5))
def test_the_losses_are_those_of_a_double_loop(seed):
    draw = torch.Generator().manual_seed(seed)
    classes, width = 6, 7
    pushed = torch.randint(3, (12,), generator=draw) * 2
    memory = remembering(torch.randn(12, width, generator=draw).double(), pushed, classes, 20)
    vectors = torch.randn(8, width, generator=draw).double().requires_grad_()
    labels = torch.randint(classes, (8,), generator=draw)
    for loss, term in (
        (representativeness, lambda found: 1 - min(found)),
        (diversity, max),
    ):
        value = loss(vectors, labels, memory)
        assert value.item() == pytest.approx(slow(vectors, labels, memory, term), abs=1e-12)
        (gradient,) = torch.autograd.grad(value, vectors)
        step = 1e-6 * torch.randn(vectors.shape, generator=draw).double()
        moved, back = (slow(vectors.detach() + sign * step, labels, memory, term) for sign in (1, -1))
        assert (gradient * step).sum().item() == pytest.approx((moved - back) / 2, rel=1e-4, abs=1e-12)
        assert gradient.isfinite().all()


def test_only_the_worst_and_the_closest_pair_are_pulled_and_pushed():
    memory = remembering(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    vectors = torch.tensor([[1.0, 0.1], [1.0, 0.5], [3.0, 2.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1])
    (near,) = torch.autograd.grad(representativeness(vectors, labels, memory), vectors)
    (apart,) = torch.autograd.grad(diversity(vectors, labels, memory), vectors)
    assert near.abs().sum(1).gt(0).tolist() == [True, False, False]
    assert apart.abs().sum(1).gt(0).tolist() == [True, False, False]
    assert near[0, 1] < 0, "descending it turns the first vector to the one that is farthest"


@pytest.mark.parametrize(("size", "batch"), [(4, 3), (4, 11), (1, 5), (64, 8)])
def test_a_memory_is_a_dictionary_of_short_lists(size, batch, draw):
    memory, twin = Memory.empty(5, size, 2), defaultdict(list)
    for _ in range(12):
        vectors = torch.randn(batch, 2, generator=draw)
        labels = torch.randint(4, (batch,), generator=draw)
        memory.push(vectors.requires_grad_(), labels)
        for vector, label in zip(vectors.tolist(), labels.tolist(), strict=True):
            twin[label] = [*twin[label], vector][-size:]
        for label in range(5):
            held = memory.items[label][memory.held(torch.tensor([label]))[0]]
            assert sorted(held.tolist()) == sorted(twin[label])
    assert not memory.items.requires_grad and memory.items.shape == (5, size, 2)


def xl():
    """DiT-XL/2 at 256 px, without values."""
    with torch.device("meta"):
        return DiTTransformer2DModel(
            num_attention_heads=16,
            attention_head_dim=72,
            in_channels=4,
            out_channels=8,
            num_layers=28,
            sample_size=32,
            patch_size=2,
            num_embeds_ada_norm=1000,
        )


def test_what_trains_of_dit_xl():
    model = xl()
    trained = prepare(model)
    counts = defaultdict(int)
    for name, value in trained.items():
        counts[name.rsplit(".", 2)[-1] if "table" not in name else "table"] += value.numel()
    assert counts == {"bias": 489_632, "table": 1_153_152, "gamma": 96_768}
    assert sum(value.numel() for value in trained.values()) == 1_739_552
    assert sum("gamma" in name for name in trained) == 14 * 5
    assert not any("transformer_blocks.14" in name and "gamma" in name for name in trained)
    moving = {id(value) for value in model.parameters() if value.requires_grad}
    assert moving == {id(value) for value in trained.values()}


@pytest.fixture
def prior(tmp_path):
    """A tiny DiT whose blocks share their embedder's values, as DiT's own do."""
    return Prior.from_pretrained(tiny.save_tied_dit(tmp_path / "tied"))


def asked(prior, draw, n=4):
    noisy = torch.randn(n, *prior.latent_shape, generator=draw)
    return {
        "hidden_states": noisy,
        "timestep": torch.randint(1000, (n,), generator=draw),
        "class_labels": torch.tensor([0, 3, 1000, 9]),
    }


def test_scales_that_are_one_change_nothing_and_folded_ones_are_the_scaled_net(prior, draw):
    question = asked(prior, draw)
    with torch.no_grad():
        before = prior.transformer(**question).sample
        trained = prepare(prior.transformer)
        torch.testing.assert_close(prior.transformer(**question).sample, before, rtol=0, atol=1e-6)
        for value in trained.values():
            value.add_(0.3 * torch.randn(value.shape, generator=draw))
        scaled = prior.transformer(**question).sample
        names = set(prior.transformer.state_dict())
        fold(prior.transformer)
        folded = prior.transformer(**question).sample
    assert (scaled - before).abs().max() > 0.1
    torch.testing.assert_close(folded, scaled, rtol=0, atol=1e-5)
    assert any("gamma" in name for name in names)
    assert not any("gamma" in name or "linear.linear" in name for name in prior.transformer.state_dict())
    assert not any(value.requires_grad for value in prior.transformer.parameters())


def test_a_scale_acts_where_the_source_puts_it(prior, draw):
    """The block in plain torch, with DiffFit's six scale vectors as its paper places them."""
    trained = prepare(prior.transformer)
    with torch.no_grad():
        for value in trained.values():
            value.add_(0.3 * torch.randn(value.shape, generator=draw))
    block = prior.transformer.transformer_blocks[0]
    x, t, row = torch.randn(1, 16, 16, generator=draw), torch.tensor([7]), torch.tensor([2])
    attention, mlp = block.attn1, block.ff.net

    def normal(values):
        return torch.nn.functional.layer_norm(values, (16,), eps=1e-6)

    with torch.no_grad():
        found = block(x, timestep=t, class_labels=row)
        told = block.norm1.linear(torch.nn.functional.silu(block.norm1.emb(t, row, hidden_dtype=x.dtype)))
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = told[:, None].chunk(6, 2)
        seen = normal(x) * (1 + scale) + shift
        gamma1 = torch.cat([getattr(attention, name).gamma[0] for name in ("to_q", "to_k", "to_v")])
        qkv = (
            torch.cat([getattr(attention, name).linear(seen) for name in ("to_q", "to_k", "to_v")], 2)
            * gamma1
        )
        q, k, v = (part.unflatten(2, (2, 8)).transpose(1, 2) for part in qkv.chunk(3, 2))
        mixed = ((q @ k.transpose(2, 3) / 8**0.5).softmax(3) @ v).transpose(1, 2).flatten(2)
        gamma2, block_gamma1 = attention.to_out[0].gamma
        x = x + block_gamma1 * (gate * (attention.to_out[0].linear(mixed) * gamma2))
        within = torch.nn.functional.layer_norm(x, (16,), eps=1e-5) * (1 + scale_mlp) + shift_mlp
        x = x + mlp[2].gamma[0] * (gate_mlp * mlp[2].linear(mlp[0](within)))
    torch.testing.assert_close(found, x, rtol=0, atol=1e-5)


def test_embedders_that_differ_are_refused(tiny_dit, prior):
    require_one_embedder(prior.transformer)
    with pytest.raises(PotstillError, match="embedders of blocks 0 and 1 differ"):
        require_one_embedder(Prior.from_pretrained(tiny_dit).transformer)


@pytest.mark.parametrize("t", [1, 2, 500, 999])
def test_the_variance_bound_is_a_divergence_of_normals(t, draw):
    betas = torch.linspace(1e-4, 0.02, 1000)
    raw, x0, clean, x_t = (torch.randn(3, 4, 2, 2, generator=draw).double() for _ in range(4))
    found = variance_bound(raw, x0, clean, x_t, torch.full((3,), t), variance_table(betas).double())
    exact = betas.double()
    alphas = 1 - exact
    bar, before = alphas[: t + 1].prod(), alphas[:t].prod()
    least = (1 - before) / (1 - bar) * exact[t]

    def normal(latents, variance):
        signal = before.sqrt() * exact[t] * latents / (1 - bar)
        return Normal(signal + alphas[t].sqrt() * (1 - before) * x_t / (1 - bar), variance.sqrt())

    learned = (exact[t].log() * (raw + 1) / 2 + least.log() * (1 - raw) / 2).exp()
    wanted = kl_divergence(normal(clean, least), normal(x0, learned)).flatten(1).mean(1) / math.log(2)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_variance_bound_of_the_last_step_is_the_likelihood_of_8_bits(draw):
    betas = torch.linspace(1e-4, 0.02, 1000)
    clean = torch.tensor([-1.4, -0.9995, -0.3, 0.2, 0.9995, 1.7]).reshape(1, 6, 1, 1)
    x0 = clean + 0.01 * torch.randn(clean.shape, generator=draw)
    raw = torch.rand(clean.shape, generator=draw) * 2 - 1
    found = variance_bound(
        raw, x0, clean, torch.randn(clean.shape), torch.zeros(1).long(), variance_table(betas)
    )
    exact = betas.double()
    least = exact[0] / (1 - (1 - exact[0]) * (1 - exact[1])) * exact[1]
    nats = []
    for value, mean, share in zip(
        clean.flatten().tolist(), x0.flatten().tolist(), raw.flatten().tolist(), strict=True
    ):
        deviation = math.exp((math.log(exact[0]) * (share + 1) + math.log(least) * (1 - share)) / 4)
        low = 0 if value < -0.999 else norm.cdf(value - 1 / 255, mean, deviation)
        high = 1 if value > 0.999 else norm.cdf(value + 1 / 255, mean, deviation)
        nats.append(-math.log(max(high - low, 1e-12)))
    assert found.item() == pytest.approx(sum(nats) / 6 / math.log(2), rel=1e-4)


@pytest.mark.parametrize("t", [0, 500])
def test_the_variance_bound_trains_the_variance_alone(t, draw):
    raw, x0, clean, x_t = torch.randn(4, 3, 4, 2, 2, generator=draw)
    raw, x0 = raw.requires_grad_(), x0.requires_grad_()
    table = variance_table(torch.linspace(1e-4, 0.02, 1000))
    bound = variance_bound(raw, x0, clean, x_t, torch.full((3,), t), table).sum()
    of_raw, of_x0 = torch.autograd.grad(bound, (raw, x0), allow_unused=True)
    assert of_raw.abs().sum() > 0 and of_x0 is None


def test_the_published_settings_are_the_defaults():
    tuning = Minimax(prior="")
    assert (tuning.representative, tuning.diverse, tuning.memory) == (0.002, 0.008, 64)
    assert (tuning.epochs, tuning.batch, tuning.rate) == (8, 8, 1e-3)
    assert (tuning.dropped, tuning.average) == (0.1, 0.9999)


def batch_of(prior, draw, n=6):
    labels = torch.randint(3, (n,), generator=draw)
    clean = torch.randn(n, *prior.latent_shape, generator=draw)
    return Batch.drawn(prior, clean, labels, torch.tensor([4, 0, 9]), 0.5, draw)


@pytest.mark.parametrize(("prediction", "channels"), [("epsilon", 8), ("v_prediction", 4), ("sample", 4)])
def test_the_diffusion_loss_is_that_of_each_prediction(tmp_path, prediction, channels, draw):
    prior = Prior.from_pretrained(tiny.save_tied_dit(tmp_path / "dit", prediction, channels))
    batch, table = batch_of(prior, draw), variance_table(prior.pipe.scheduler.betas)
    loss, x0 = diffusion_loss(prior, batch, table)
    bars = prior.pipe.scheduler.alphas_cumprod.double()[batch.t][:, None, None, None]
    clean, noise = batch.clean.double(), batch.noise.double()
    x_t = bars.sqrt() * clean + (1 - bars).sqrt() * noise
    raw = prior.transformer(x_t.float(), timestep=batch.t, class_labels=batch.told).sample
    said = raw[:, :4].double()
    wanted, seen = {
        "epsilon": (noise, x_t / bars.sqrt() - (1 / bars - 1).sqrt() * said),
        "v_prediction": (
            bars.sqrt() * noise - (1 - bars).sqrt() * clean,
            bars.sqrt() * x_t - (1 - bars).sqrt() * said,
        ),
        "sample": (clean, said),
    }[prediction]
    plain = (said - wanted).square().mean()
    bound = 0.0
    if channels == 8:
        bound = (
            variance_bound(raw[:, 4:], seen.float(), batch.clean, x_t.float(), batch.t, table).mean().item()
        )
        assert bound > 1e-3
    assert loss.item() == pytest.approx(plain.item() + bound, rel=1e-4)
    torch.testing.assert_close(x0.double(), seen, rtol=1e-4, atol=1e-3)


def test_labels_are_dropped_and_classes_are_kept(prior):
    draw = torch.Generator().manual_seed(3)
    rows, labels = torch.tensor([4, 0, 9]), torch.arange(3).repeat(2000)
    clean = torch.zeros(6000, *prior.latent_shape)
    batch = Batch.drawn(prior, clean, labels, rows, 0.1, draw)
    lost = batch.told == 1000
    assert lost.float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(batch.told[~lost], rows[labels[~lost]]) and torch.equal(batch.labels, labels)
    assert batch.t.min() == 0 and batch.t.max() == 999


def test_the_running_mean_of_what_trains_is_that_of_the_whole_net(prior, draw):
    tuning = Minimax(prior="", memory=3, average=0.9, rate=1e-2)
    frozen = {name: value.clone() for name, value in prior.transformer.named_parameters()}
    state, table = State.new(prior, 3, tuning), variance_table(prior.pipe.scheduler.betas)
    twin = copy.deepcopy(prior.transformer).double()
    for _ in range(6):
        state.advance(prior, batch_of(prior, draw), tuning, table, Processes())
        for slow_value, value in zip(twin.parameters(), prior.transformer.parameters(), strict=True):
            slow_value.data = 0.9 * slow_value.data + 0.1 * value.data.double()
    moved = {name for name, value in prior.transformer.named_parameters() if not same(frozen, name, value)}
    trained = {name for name, value in prior.transformer.named_parameters() if value.requires_grad}
    assert moved == trained, "all that trains has moved, and nothing else has"
    embedders = {id(block.norm1.emb.class_embedder.embedding_table.weight) for block in blocks(prior)}
    assert len(embedders) == 1
    state.settle()
    for value, slow_value in zip(prior.transformer.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(value.double(), slow_value, rtol=0, atol=1e-6)
    fold(prior.transformer)
    tables = [block.norm1.emb.class_embedder.embedding_table.weight for block in blocks(prior)]
    assert len({id(table) for table in tables}) == len(tables) and all(
        torch.equal(tables[0], one) for one in tables
    )


def test_a_step_remembers_the_batch_only_afterwards(prior, draw):
    tuning, table = Minimax(prior="", memory=4), variance_table(prior.pipe.scheduler.betas)
    state, batch = State.new(prior, 3, tuning), batch_of(prior, draw)
    with torch.no_grad():
        seen = diffusion_loss(prior, batch, table)[1].flatten(1)
    state.advance(prior, batch, tuning, table, Processes())
    assert state.sums[1:].tolist() == [0, 0], "the first batch has no neighbours"
    for memory, latents in ((state.real, batch.clean.flatten(1)), (state.pseudo, seen)):
        wanted = remembering(latents, batch.labels, 3, 4)
        torch.testing.assert_close(memory.items, wanted.items, rtol=1e-4, atol=1e-3)
        assert torch.equal(memory.pushed, batch.labels.bincount(minlength=3))
    state.advance(prior, batch, tuning, table, Processes())
    assert (state.sums[1:] > 0).all()


def blocks(prior):
    return prior.transformer.transformer_blocks


def same(before, name, value):
    if name.endswith("gamma"):
        return bool((value == 1).all())
    inner = name.replace("norm1.linear", "norm1.modulation").replace(".linear.", ".")
    return torch.equal(before[inner.replace("norm1.modulation", "norm1.linear")], value)
