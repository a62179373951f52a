"""The encoder and its referee: CLIPs that learn what digits look like from captions of single digits."""

import argparse
import json
import sys

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from worlds.digits.augment import test_pixels, train_pixels, vary
from worlds.digits.autoencoder import BUNDLED
from worlds.digits.captions import FRAMES, NAMED, SHOWN_BY, WORDINGS, bank, caption, holds
from worlds.digits.strokes import facts
from worlds.digits.training import train

LENGTH, BATCH, POOL = 48, 192, 40
SHAPES = {
    "clip": {"steps": 1500, "seed": 0, "patch": 4, "width": 96, "layers": 4},
    "referee": {"steps": 900, "seed": 1000, "patch": 8, "width": 128, "layers": 3},
}


def tokenizer() -> CLIPTokenizer:
    """A byte-pair vocabulary of the world's own words."""
    corpus = [words for wordings in WORDINGS.values() for words in wordings] + [*FRAMES, *NAMED]
    corpus += [f"{name} with {phrase}" for name, phrases in bank() for phrase in phrases]
    letters = [chr(code) for code in range(33, 127)]
    symbols = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    blank = CLIPTokenizer(
        vocab={symbol: place for place, symbol in enumerate(symbols)}, merges=[], model_max_length=LENGTH
    )
    return blank.train_new_from_iterator([corpus * 5], vocab_size=900, initial_alphabet=letters)


def build(words: CLIPTokenizer, patch: int, width: int, layers: int) -> CLIPModel:
    text = CLIPTextConfig(
        hidden_size=64,
        intermediate_size=192,
        num_attention_heads=4,
        num_hidden_layers=2,
        projection_dim=64,
        vocab_size=len(words),
        max_position_embeddings=LENGTH,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=width * 2,
        num_attention_heads=4,
        num_hidden_layers=layers,
        image_size=32,
        patch_size=patch,
        projection_dim=64,
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=64)
    return CLIPModel(config)


class Pair(nn.Module):
    """A CLIP with the bias that the sigmoid loss needs while training."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip, self.bias = clip, nn.Parameter(torch.tensor(-3.0))

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            seen = self.clip.get_image_features(pixel_values=pixels).pooler_output
            read = self.clip.get_text_features(input_ids=tokens).pooler_output
        cosines = F.normalize(seen.float(), dim=-1) @ F.normalize(read.float(), dim=-1).T
        return cosines * self.clip.logit_scale.exp().clamp(max=30) + self.bias


def main(name: str) -> None:
    shape = SHAPES[name]
    torch.manual_seed(shape["seed"])
    words, folder = tokenizer(), BUNDLED / name
    pixels, labels = train_pixels()
    seen = [facts(image[0].numpy()) for image in pixels]
    numbers = np.random.default_rng(shape["seed"])
    pool = [
        [caption(int(label), told, numbers) for _ in range(POOL)]
        for label, told in zip(labels, seen, strict=True)
    ]
    flat = words([one.text for several in pool for one in several], padding="max_length", max_length=LENGTH)
    tokens = torch.tensor(flat.input_ids, dtype=torch.int32).reshape(len(pool), POOL, LENGTH)
    pair = Pair(build(words, shape["patch"], shape["width"], shape["layers"]))
    mean, std = 0.15, 0.35

    def loss(draw: torch.Generator) -> Tensor:
        draw.manual_seed(draw.initial_seed() + 100_000 * shape["seed"])
        rows = torch.randint(len(pixels), (BATCH,), generator=draw)
        picks = torch.randint(POOL, (BATCH,), generator=draw)
        told = [pool[row][pick] for row, pick in zip(rows, picks, strict=True)]
        true = torch.from_numpy(holds(told, labels[rows].numpy(), [seen[row] for row in rows]))
        texts = tokens[rows, picks].long()
        texts = texts[:, : int((texts != words.eos_token_id).sum(1).max()) + 1]
        logits = pair((vary(pixels[rows], draw) - mean) / std, texts)
        signed = torch.where(true, logits, -logits)
        weight = torch.where(true, 0.5 / true.float().mean(), 0.5 / (~true).float().mean())
        return -(F.logsigmoid(signed) * weight).mean()

    averaged, seconds = train(
        name, pair, loss, steps=shape["steps"], rate=2e-3, weight_decay=0.05, decay=0.995, warm_up=150
    )
    clip = averaged.clip
    processor = CLIPImageProcessor(
        size={"shortest_edge": 32},
        crop_size={"height": 32, "width": 32},
        image_mean=[mean] * 3,
        image_std=[std] * 3,
    )
    for part in (clip, words, processor):
        part.save_pretrained(folder)
    metrics = measure(str(folder)) | {"seconds": seconds}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(metrics, flush=True)


def measure(folder: str) -> dict[str, float]:
    """Zero-shot accuracy and how well phrases tell digits apart, on the 1,000 test digits."""
    from potstill.encoders import Encoder

    encoder = Encoder.from_pretrained(folder)
    pixels, labels = test_pixels()
    with torch.no_grad():
        images = torch.cat([encoder.images(part) for part in pixels.split(250)])
    names = encoder.texts([name for name, _ in bank()])
    phrases = torch.stack(
        [encoder.texts([f"{name} with {phrase}" for phrase in phrases]) for name, phrases in bank()]
    )
    by_phrases = torch.einsum("nd,cpd->ncp", images, phrases).mean(2)
    seen = [facts(image[0].numpy()) for image in pixels]
    draw = np.random.default_rng(1)
    told = [caption(int(label), fact, draw) for label, fact in zip(labels, seen, strict=True)]
    read = encoder.texts([one.text for one in told])
    best = (read @ images.T).argmax(1)
    true = holds(told, labels.numpy(), seen)
    areas = []
    for label, (_, several) in enumerate(bank()):
        rows = (labels == label).nonzero()[:, 0]
        for place, phrase in enumerate(several):
            shown = torch.tensor([all(seen[row][fact] for fact in SHOWN_BY.get(phrase, ())) for row in rows])
            if phrase in SHOWN_BY and 5 <= shown.sum() <= len(rows) - 5:
                scores = images[rows] @ phrases[label, place]
                areas.append((scores[shown][:, None] > scores[~shown][None]).float().mean().item())
    return {
        "zero_shot_by_names": float(((images @ names.T).argmax(1) == labels).float().mean()),
        "zero_shot_by_phrases": float((by_phrases.argmax(1) == labels).float().mean()),
        "best_image_of_a_caption_is_true": float(true[best.numpy(), np.arange(len(told))].mean()),
        "true_against_untrue_phrase_within_class_auc": float(np.mean(areas)),
        "phrases_measured": len(areas),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SHAPES)
    main(parser.parse_args(sys.argv[1:]).name)
