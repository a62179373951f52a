"""A local model: greedy against a loop without a cache, sampling against softmax, and what a draw depends on."""

import pytest
import torch
from support.tiny import byte_words, save_language
from transformers import LlamaForCausalLM

from potstill.concepts.language import Refused
from potstill.concepts.local_language import Gumbel, LocalLanguage
from potstill.concepts.prompt import Prompt
from potstill.concepts.retrieve import Retrieval, retrieve
from potstill.core.errors import PotstillError
from potstill.data.real import Classes

TURNS = [{"role": "user", "content": "a fish"}, {"role": "assistant", "content": "no"}]
CHAT = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[answer] "


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random causal LM, bytes in and out, that can read 4,000 of them."""
    return save_language(tmp_path_factory.mktemp("language"))


def twin(folder, text, longest):
    """Greedy search written out, the whole text through the model for every token."""
    model, tokens, made = LlamaForCausalLM.from_pretrained(folder), byte_words()(text)["input_ids"], []
    for _ in range(longest):
        with torch.no_grad():
            token = int(model(torch.tensor([tokens + made])).logits[0, -1].argmax())
        if token == 256:
            break
        made.append(token)
    return byte_words().decode(made), len(tokens), len(made)


def test_greedy_equals_a_loop_without_a_cache(folder):
    reply = LocalLanguage(folder, longest=12).ask(TURNS)
    assert (reply.text, reply.tokens_in, reply.tokens_out) == twin(folder, "a fish\n\nno\n\n", 12)


def test_a_chat_template_is_used_where_there_is_one(folder, tmp_path):
    LlamaForCausalLM.from_pretrained(folder).save_pretrained(tmp_path)
    byte_words(CHAT).save_pretrained(tmp_path)
    reply = LocalLanguage(str(tmp_path), longest=8).ask(TURNS)
    assert reply.text == twin(folder, "[user] a fish\n[assistant] no\n[answer] ", 8)[0]


def test_gumbel_noise_draws_from_softmax(draw):
    scores, rounds = torch.tensor([[2.0, 0.0, 1.0, -1.0, -torch.inf]]), 20_000
    noise = Gumbel(2.0, draw)
    counts = torch.zeros(5)
    for _ in range(rounds):
        counts[int(noise(None, scores).argmax())] += 1
    assert (counts / rounds - (scores[0] / 2.0).softmax(0)).abs().max() < 0.015 and counts[4] == 0


def test_a_draw_depends_on_seed_and_conversation_alone(folder):
    before = torch.get_rng_state()
    model = LocalLanguage(folder, temperature=1.5, seed=3, longest=16)
    first, other = model.ask(TURNS), model.ask(TURNS[:1])
    assert model.ask(TURNS) == first != other
    assert LocalLanguage(folder, temperature=1.5, seed=4, longest=16).ask(TURNS) != first
    assert torch.equal(torch.get_rng_state(), before)
    assert model.provenance == {"model": folder, "temperature": "1.5", "seed": "3"}


def test_what_does_not_fit_is_refused(folder):
    with pytest.raises(Refused, match="3903 tokens and an answer of 100 do not fit the model's 4000"):
        LocalLanguage(folder, longest=100).ask([{"role": "user", "content": "x" * 3901}])


def test_a_random_models_answers_are_turned_down_and_kept(folder, tmp_path):
    settings = Retrieval(prompt=Prompt.load("concord"), workers=2, tries=2)
    model = LocalLanguage(folder, longest=8)
    found = retrieve(Classes(("a", "b"), ("cat", "dog")), model, tmp_path / "bank.jsonl", settings)
    assert not found.bank.entries and set(found.failed) == {"a", "b"} and found.rejected == 4
    assert len((tmp_path / "bank.rejected.jsonl").read_text().splitlines()) == 4
    assert not (tmp_path / "bank.jsonl").exists()


def test_what_cannot_be_loaded_is_named(tmp_path, folder):
    with pytest.raises(PotstillError, match="no text-generation model"):
        LocalLanguage(str(tmp_path))
    with pytest.raises(PotstillError, match="must be positive, not 0"):
        LocalLanguage(folder, temperature=0)
