"""A language model of the transformers library on this machine."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor

from potstill.concepts.language import Message, Refused, Reply
from potstill.core.errors import PotstillError
from potstill.core.seeds import generator


class LocalLanguage:
    """A text-generation model by folder or hub id; questions are answered one at a time.

    The tokenizer's chat template is used where it has one, else the turns are put one under the other. Greedy without
    a temperature; with one, the draw depends on the seed and the conversation alone. An answer has at most `longest`
    tokens. Only safetensors are read, and code of a model's repository is never run. Raises PotstillError for what
    cannot be loaded.
    """

    def __init__(
        self,
        source: str,
        *,
        temperature: float | None = None,
        seed: int = 0,
        longest: int = 1024,
        device: str = "cpu",
    ) -> None:
        if temperature is not None and not 0 < temperature < float("inf"):
            raise PotstillError(f"a temperature must be positive, not {temperature}; leave it out for greedy")
        try:
            self._words: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(
                source, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise PotstillError(
                f"{source!r} is no text-generation model's folder or hub id: {error}"
            ) from None
        self._model = model.to(device).eval()
        self._source, self._temperature, self._seed, self._longest = source, temperature, seed, longest
        self._turn = threading.Lock()

    @property
    def provenance(self) -> Mapping[str, str]:
        """The folder or hub id; with sampling, the temperature and the seed."""
        if self._temperature is None:
            return {"model": self._source}
        return {
            "model": self._source,
            "temperature": f"{self._temperature:g}",
            "seed": str(self._seed),
        }

    def ask(self, messages: Sequence[Message]) -> Reply:
        """The model's text; raises Refused where the conversation is longer than the model can read."""
        with self._turn, torch.no_grad():
            given = self._tokens(messages)
            most = getattr(self._model.config, "max_position_embeddings", None)
            if most is not None and given.shape[1] + self._longest > most:
                raise Refused(
                    f"{given.shape[1]} tokens and an answer of {self._longest} do not fit the model's {most}"
                )
            sampling = []
            if self._temperature is not None:
                draw = generator(self._seed, *(message["content"] for message in messages))
                sampling = [Gumbel(self._temperature, draw)]
            made = self._model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=self._longest,
                do_sample=False,
                logits_processor=sampling,
            )[0, given.shape[1] :]
        return Reply(self._words.decode(made, skip_special_tokens=True), given.shape[1], len(made))

    def _tokens(self, messages: Sequence[Message]) -> Tensor:
        if self._words.chat_template:
            read = self._words.apply_chat_template(
                [dict(message) for message in messages],
                add_generation_prompt=True,
                return_dict=True,
                return_tensors="pt",
            )
        else:
            turns = "".join(message["content"] + "\n\n" for message in messages)
            read = self._words(turns, return_tensors="pt")
        return read["input_ids"].to(self._model.device)


class Gumbel(LogitsProcessor):
    """Turns greedy search into sampling by a generator of our own: argmax of logits / T plus Gumbel noise.

    The largest of these is token i with probability softmax(logits / T)_i (the Gumbel-max trick). Without it
    `generate` draws from the global generator.
    """

    def __init__(self, temperature: float, draw: torch.Generator) -> None:
        self._temperature, self._draw = temperature, draw

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """The scores [1, vocabulary], perturbed."""
        uniform = torch.rand(scores.shape, generator=self._draw, dtype=torch.float64).clamp_min(1e-300)
        return scores.double() / self._temperature - (-uniform.log()).log().to(scores.device)
