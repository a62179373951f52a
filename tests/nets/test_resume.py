"""A killed training goes on to the same bits; averages and parts of batches are what they say."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from potstill.core.errors import PotstillError
from potstill.core.seeds import generator
from potstill.nets.augment import Augment, CutMix, Flip, in_turn
from potstill.nets.average import Average
from potstill.nets.checkpoint import Checkpoint
from potstill.nets.fit import Training, fit
from potstill.nets.optimiser import AdamW, Optimiser, Sgd
from potstill.nets.schedule import Cosine, Drops, Schedule
from potstill.nets.spec import Net, build

LABELS = torch.arange(12) % 4
AUGMENT: Augment = in_turn([Flip(), CutMix()])


def pictures() -> Tensor:
    return torch.randint(256, (12, 3, 8, 8), generator=generator("pictures"), dtype=torch.uint8)


class Killed(Exception):
    pass


def train(training: Training, checkpoint: Checkpoint | None = None, stop: int = 0) -> dict[str, Tensor]:
    module = build(Net(width=4), 4, 8, generator(0))

    def listen(step: object) -> None:
        if getattr(step, "index", 0) == stop:
            raise Killed

    fit(
        module,
        pictures(),
        LABELS,
        classes=4,
        training=training,
        generator=generator(1),
        augment=AUGMENT,
        checkpoint=checkpoint,
        on_step=listen,
    )
    return module.state_dict()


@pytest.mark.parametrize("stop", [1, 3, 4, 6])
@pytest.mark.parametrize(
    ("optimiser", "schedule", "average"),
    [
        (AdamW(), Cosine(), None),
        (Sgd(), Drops(at=(0.5,), by=0.1, late=1, restart=True), 0.9),
    ],
)
def test_goes_on_to_the_same_bits(
    optimiser: Optimiser, schedule: Schedule, average: float | None, stop: int, tmp_path: Path
) -> None:
    training = Training(epochs=6, batch=5, rate=1e-2, optimiser=optimiser, schedule=schedule, average=average)
    straight = train(training)
    with pytest.raises(Killed):
        train(training, Checkpoint(path=tmp_path / "c.pt", identity="a", seconds=0), stop)
    resumed = train(training, Checkpoint(path=tmp_path / "c.pt", identity="a", seconds=0))
    assert all(torch.equal(value, resumed[name]) for name, value in straight.items())


def test_a_foreign_or_broken_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.pt"
    train(Training(epochs=1, batch=6), Checkpoint(path=file, identity="a"))
    with pytest.raises(PotstillError, match="c.pt belongs to another training"):
        train(Training(epochs=1, batch=6), Checkpoint(path=file, identity="b"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(PotstillError, match="c.pt is no whole checkpoint: delete it"):
        train(Training(epochs=1, batch=6), Checkpoint(path=file, identity="a"))


def test_saves_no_more_often_than_asked(tmp_path: Path) -> None:
    kept = Checkpoint(path=tmp_path / "c.pt", identity="a", seconds=3600)
    with pytest.raises(Killed):
        train(Training(epochs=6, batch=6), kept, stop=5)
    assert torch.load(kept.path, weights_only=True)["done"] == 1


def test_the_average_by_hand() -> None:
    """Weights 1 - 1/(1 + n) up to the cap make a plain mean at first, then an exponential one."""
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(100.0)
    average, kept = Average(module, 0.75), 100.0
    for update, value in enumerate([3.0, 5.0, 4.0, 8.0, 1.0, 7.0]):
        with torch.no_grad():
            module.weight.fill_(value)
        average.update(module)
        decay = min(0.75, 1 - 1 / (1 + update))
        kept = decay * kept + (1 - decay) * value
        if update == 3:
            assert kept == pytest.approx((3 + 5 + 4 + 8) / 4)
    average.into(module)
    assert module.weight.item() == pytest.approx(kept)


def test_parts_of_a_batch_give_the_gradient_of_the_whole() -> None:
    """For a net without batch statistics: a linear one, in float64."""
    states = []
    for micro in (None, 5):
        module = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).double()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator(0)).double() / 10)
        training = Training(epochs=3, batch=12, rate=0.1, optimiser=Sgd(), micro=micro)
        fit(module, pictures(), LABELS, classes=4, training=training, generator=generator(1), augment=AUGMENT)
        states.append(module.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("restart", [True, False])
def test_a_drop_with_a_restart_forgets_momentum(restart: bool) -> None:
    """Two trainings one after the other, the second with an optimiser of its own, are the restart written out."""
    sgd, constant = Sgd(weight_decay=0.0), Cosine(share=0.0)
    drop = Drops(at=(0.5,), by=0.1, restart=restart)
    whole = train(Training(epochs=4, batch=12, rate=0.1, optimiser=sgd, schedule=drop))
    module, draws = build(Net(width=4), 4, 8, generator(0)), generator(1)
    for rate in (0.1, 0.1 * 0.1):
        half = Training(epochs=2, batch=12, rate=rate, optimiser=sgd, schedule=constant)
        fit(module, pictures(), LABELS, classes=4, training=half, generator=draws, augment=AUGMENT)
    same = [torch.equal(value, whole[name]) for name, value in module.state_dict().items()]
    assert all(same) == restart
