"""The tiny world: the real diffusers and transformers classes, narrow, with random weights, saved as folders."""

import json
import string
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    StableDiffusionPipeline,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

WIDTH, PROJECTION, SIDE = 32, 32, 32


def tokenizer():
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    symbols = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {symbol: place for place, symbol in enumerate(symbols)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def text_config(words):
    return CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        projection_dim=PROJECTION,
        vocab_size=len(words),
        max_position_embeddings=77,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )


def vision_config():
    return CLIPVisionConfig(
        hidden_size=WIDTH,
        projection_dim=PROJECTION,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=8,
        intermediate_size=37,
    )


def processor():
    return CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})


def autoencoder():
    return AutoencoderKL(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        mid_block_add_attention=False,
    )


def shaken(model):
    """Spreads out weights that start at zero, so that every part of a random model has an effect."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def save_dit(folder, prediction="epsilon", out_channels=8):
    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=out_channels,
        num_embeds_ada_norm=1000,
    )
    scheduler = DDIMScheduler(clip_sample=False, prediction_type=prediction)
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    names = {place: f"handwritten {word}, digit {place}" for place, word in enumerate(words)}
    DiTPipeline(shaken(transformer), autoencoder(), scheduler).save_pretrained(folder)
    index = Path(folder) / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"id2label": names}))
    return str(folder)


def save_tied_dit(folder, prediction="epsilon", out_channels=8):
    """The tiny DiT with one embedder of time and class, copied into every block, as in converted checkpoints."""
    pipe = DiTPipeline.from_pretrained(save_dit(folder, prediction, out_channels))
    first, *others = pipe.transformer.transformer_blocks
    for block in others:
        block.norm1.emb.load_state_dict(first.norm1.emb.state_dict())
    pipe.transformer.save_pretrained(Path(folder) / "transformer")
    return str(folder)


def save_clip(folder):
    torch.manual_seed(1)
    words = tokenizer()
    config = CLIPConfig(
        text_config=text_config(words).to_dict(),
        vision_config=vision_config().to_dict(),
        projection_dim=PROJECTION,
    )
    for part in (shaken(CLIPModel(config)), words, processor()):
        part.save_pretrained(folder)
    return str(folder)


def prompted_unet(**settings):
    return shaken(
        UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(32, 64),
            cross_attention_dim=WIDTH,
            layers_per_block=1,
            **settings,
        )
    )


def scaled_linear(prediction):
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction,
        set_alpha_to_one=False,
        steps_offset=1,
        clip_sample=False,
    )


def save_unclip(folder, prediction="v_prediction"):
    torch.manual_seed(2)
    words = tokenizer()
    unet = prompted_unet(
        attention_head_dim=(2, 4),
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * PROJECTION,
        use_linear_projection=True,
    )
    StableUnCLIPImg2ImgPipeline(
        feature_extractor=processor(),
        image_encoder=shaken(CLIPVisionModelWithProjection(vision_config())),
        image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=PROJECTION),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=words,
        text_encoder=CLIPTextModel(text_config(words)),
        unet=unet,
        scheduler=scaled_linear(prediction),
        vae=autoencoder(),
    ).save_pretrained(folder)
    return str(folder)


def save_stable_diffusion(folder, prediction="epsilon"):
    torch.manual_seed(4)
    words = tokenizer()
    unet = prompted_unet(attention_head_dim=2)
    StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=CLIPTextModel(text_config(words)),
        tokenizer=words,
        unet=unet,
        scheduler=scaled_linear(prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return str(folder)


def save_tiny_decoder(folder):
    torch.manual_seed(3)
    model = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        latent_channels=4,
    )
    model.save_pretrained(folder)
    return str(folder)


def save_classifier(folder):
    torch.manual_seed(6)
    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        image_size=32,
        patch_size=8,
        id2label={0: "3", 1: "8"},
    )
    parts = ViTForImageClassification(config), ViTImageProcessorPil(size={"height": 32, "width": 32})
    for part in parts:
        part.save_pretrained(folder)
    return str(folder)


def byte_words(chat=None):
    """A tokenizer of bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inside = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    inside.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inside.decoder = decoders.ByteLevel()
    read = PreTrainedTokenizerFast(tokenizer_object=inside, eos_token="<end>")
    read.chat_template = chat
    return read


def save_language(folder):
    config = LlamaConfig(
        vocab_size=257,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=4000,
        bos_token_id=None,
        eos_token_id=256,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    byte_words().save_pretrained(folder)
    return str(folder)
