"""The encoder's preprocessing against the Hugging Face processor, its embeddings and its cache."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from potstill.core.errors import PotstillError
from potstill.encoders import Encoder
from potstill.encoders.preprocess import Preprocess


@pytest.mark.parametrize("shape", [(32, 32), (256, 256), (300, 224), (200, 333), (96, 40)])
@pytest.mark.parametrize("side", [32, 224])
def test_preprocessing_matches_the_processor(shape, side):
    height, width = shape
    waves = (
        np.add.outer(np.sin(np.arange(height) / 3), np.cos(np.arange(width) / 5))[..., None] * [60, 50, 40]
        + 128
    )
    grains = np.random.default_rng(0).integers(-20, 20, (height, width, 3))
    picture = (waves + grains).clip(0, 255).astype(np.uint8)
    processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    expected = processor(Image.fromarray(picture), return_tensors="pt").pixel_values
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    found = Preprocess.of(processor)(pixels)
    levels = (found - expected).abs() * torch.tensor(processor.image_std)[:, None, None]
    assert levels.max() < 1e-2 and levels.mean() < 2e-3


def test_the_gradient_passes_saturated_pixels():
    processor = CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    pixels = torch.full((1, 3, 8, 8), -0.01, requires_grad=True)
    (gradient,) = torch.autograd.grad(Preprocess.of(processor)(pixels).sum(), pixels)
    assert gradient.gt(0).all()


def test_embeddings_are_those_of_the_model(tiny_clip, draw):
    encoder, model = Encoder.from_pretrained(tiny_clip), CLIPModel.from_pretrained(tiny_clip).eval()
    words = CLIPTokenizer.from_pretrained(tiny_clip)
    picture = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=draw)
    processor = CLIPImageProcessor.from_pretrained(tiny_clip)
    inputs = processor(Image.fromarray(picture.permute(1, 2, 0).numpy()), return_tensors="pt")
    texts = ["a cat", "a much longer line about a dog"]
    tokens = words(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        scores = model(**tokens, **inputs)
        found = encoder.images(picture[None].float() / 255) @ encoder.texts(texts).T
    expected = scores.logits_per_image / model.logit_scale.exp()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_texts_are_embedded_once(tiny_clip, tmp_path):
    texts = [f"phrase {number}" for number in range(5)]
    first = Encoder.from_pretrained(tiny_clip, cache=tmp_path).texts(texts)
    again = Encoder.from_pretrained(tiny_clip, cache=tmp_path)
    assert again.fingerprint
    with torch.no_grad():
        again.model.text_projection.weight.zero_()
    assert torch.equal(again.texts(texts), first), "the second encoder reads what the first one wrote"
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_a_broken_cache_file_is_made_again(tiny_clip, tmp_path):
    encoder = Encoder.from_pretrained(tiny_clip, cache=tmp_path)
    first = encoder.texts(["a cat"])
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(b"torn")
    assert torch.equal(encoder.texts(["a cat"]), first)


def test_without_a_place_to_write_there_is_no_cache(tiny_clip, tmp_path):
    (tmp_path / "file").write_text("no folder")
    found = Encoder.from_pretrained(tiny_clip, cache=tmp_path / "file").texts(["a", "b"])
    assert torch.equal(found, Encoder.from_pretrained(tiny_clip, cache=tmp_path / "cache").texts(["a", "b"]))


def test_the_cache_tells_models_apart(tiny_clip, tmp_path):
    one, other = (Encoder.from_pretrained(tiny_clip, cache=tmp_path) for _ in range(2))
    with torch.no_grad():
        other.model.text_projection.weight.mul_(-1)
    assert torch.allclose(one.texts(["a cat"]), -other.texts(["a cat"]))


def test_a_wrong_place_is_named(tmp_path):
    with pytest.raises(PotstillError, match=f"cannot load the CLIP .* from {tmp_path}: "):
        Encoder.from_pretrained(str(tmp_path))
    with pytest.raises(PotstillError, match="from the hub, as there is no folder runs/clip: "):
        Encoder.from_pretrained("runs/clip")
