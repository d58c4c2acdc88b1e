"""Speech models with random weights, small enough to be created in a test. Their output is noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RATE = 24_000
FRAME = 320
"""Number of samples that the codec of Bark produces for one frame of its codes."""
SEMANTIC, CODES, QUANTIZERS = 40, 16, 8
"""Sizes of a small Bark: semantic tokens, codes of a codebook, codebooks."""
VOICES = ("v2/en_speaker_6", "v2/en_speaker_1")


def letters():
    """Return a tokenizer for which each character is a token."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", *map(chr, range(32, 127))]
    tokenizer = Tokenizer(WordLevel({token: n for n, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")


def preset(seed: int) -> dict[str, np.ndarray]:
    """Return a voice for a tiny Bark, in the form of its processor."""
    numbers = np.random.default_rng(seed)
    return {
        "semantic_prompt": numbers.integers(0, SEMANTIC, 12),
        "coarse_prompt": numbers.integers(0, CODES, (2, 18)),
        "fine_prompt": numbers.integers(0, CODES, (QUANTIZERS, 18)),
    }


def bark(directory: Path, *, voices: bool = True) -> str:
    """Save a Bark with its processor and `VOICES` in the directory, and return the directory's name.

    It has all four models of Bark, and makes a fraction of a second of audio of each text.
    """
    import torch
    from transformers import (
        BarkCoarseConfig,
        BarkConfig,
        BarkFineConfig,
        BarkModel,
        BarkProcessor,
        BarkSemanticConfig,
        EncodecConfig,
        GenerationConfig,
    )

    torch.manual_seed(0)
    tokenizer = letters()
    text_offset = SEMANTIC + 8
    text_pad = text_offset + len(tokenizer)
    coarse_pad = SEMANTIC + 2 * CODES
    small = {
        "num_layers": 1,
        "num_heads": 2,
        "hidden_size": 16,
        "block_size": 512,
        # Large enough that the output depends on the input.
        "initializer_range": 0.5,
    }
    config = BarkConfig(
        semantic_config=BarkSemanticConfig(
            input_vocab_size=text_pad + 2, output_vocab_size=text_offset, **small
        ).to_dict(),
        coarse_acoustics_config=BarkCoarseConfig(
            input_vocab_size=coarse_pad + 2, output_vocab_size=coarse_pad + 2, **small
        ).to_dict(),
        fine_acoustics_config=BarkFineConfig(
            input_vocab_size=CODES + 1,
            output_vocab_size=CODES,
            n_codes_total=QUANTIZERS,
            n_codes_given=1,
            **small,
        ).to_dict(),
        codec_config=EncodecConfig(
            sampling_rate=RATE,
            hidden_size=16,
            num_filters=4,
            num_lstm_layers=1,
            codebook_size=CODES,
            # The bits a second of all codebooks at 75 frames a second.
            target_bandwidths=[RATE / FRAME * 4 * QUANTIZERS / 1000],
        ).to_dict(),
    )
    model = BarkModel(config).eval()
    for layer in model.codec_model.quantizer.layers:
        # With the default of zeros, all codes sound the same.
        layer.codebook.embed.normal_()
    model.generation_config = GenerationConfig(
        sample_rate=RATE,
        codebook_size=CODES,
        semantic_config={
            "eos_token_id": SEMANTIC,
            "max_new_tokens": 12,
            "do_sample": True,
            "text_encoding_offset": text_offset,
            "text_pad_token": text_pad,
            "semantic_infer_token": text_pad + 1,
            "semantic_vocab_size": SEMANTIC,
            "max_input_semantic_length": 256,
            "semantic_rate_hz": 49.9,
        },
        coarse_acoustics_config={
            "do_sample": True,
            "coarse_semantic_pad_token": coarse_pad,
            "coarse_infer_token": coarse_pad + 1,
            "coarse_rate_hz": RATE / FRAME,
            "n_coarse_codebooks": 2,
            "max_coarse_input_length": 256,
            "max_coarse_history": 60,
            "sliding_window_len": 60,
        },
        fine_acoustics_config={
            "temperature": 0.5,
            "max_fine_history_length": 128,
            "max_fine_input_length": 256,
            "n_fine_codebooks": QUANTIZERS,
        },
    )
    model.save_pretrained(directory)
    speakers = {name: preset(seed) for seed, name in enumerate(VOICES)} if voices else None
    if speakers is not None:
        paths = {}
        for name, arrays in speakers.items():
            for part, array in arrays.items():
                path = Path("speaker_embeddings") / f"{name}_{part}.npy"
                (directory / path).parent.mkdir(parents=True, exist_ok=True)
                np.save(directory / path, array)
                paths.setdefault(name, {})[part] = path.as_posix()
        speakers = {"repo_or_path": str(directory), **paths}
    BarkProcessor(tokenizer, speakers).save_pretrained(str(directory))
    return str(directory)


def vits(directory: Path, *, speakers: int = 1) -> str:
    """Save a VITS, which makes audio in one pass, with its tokenizer in the directory; return its name."""
    import json

    import torch
    from transformers import VitsConfig, VitsModel, VitsTokenizer

    torch.manual_seed(0)
    vocabulary = directory / "letters.json"
    vocabulary.write_text(json.dumps({letter: n for n, letter in enumerate("_ abcdefghijklmnopqrstuvwxyz'")}))
    # Letters, because phonemes would need a phonemizer.
    tokenizer = VitsTokenizer(str(vocabulary), pad_token="_", unk_token="_", phonemize=False)
    tokenizer.save_pretrained(directory)
    config = VitsConfig(
        vocab_size=29,
        hidden_size=16,
        num_hidden_layers=1,
        ffn_dim=16,
        flow_size=16,
        spectrogram_bins=9,
        num_speakers=speakers,
        speaker_embedding_size=8 if speakers > 1 else 0,
        upsample_initial_channel=16,
        upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
        duration_predictor_filter_channels=16,
        prior_encoder_num_wavenet_layers=1,
        posterior_encoder_num_wavenet_layers=1,
        sampling_rate=16_000,
    )
    VitsModel(config).eval().save_pretrained(directory)
    return str(directory)


def speecht5(directory: Path) -> str:
    """Save a SpeechT5, which makes spectrograms, with its tokenizer; its vocoder is in `vocoder`."""
    import torch
    from transformers import SpeechT5Config, SpeechT5ForTextToSpeech, SpeechT5HifiGan, SpeechT5HifiGanConfig

    torch.manual_seed(0)
    letters().save_pretrained(directory)
    config = SpeechT5Config(
        vocab_size=97,
        hidden_size=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_mel_bins=8,
        reduction_factor=2,
        speaker_embedding_dim=4,
        speech_decoder_prenet_units=16,
        speech_decoder_postnet_units=16,
        speech_decoder_postnet_layers=1,
        pad_token_id=0,
    )
    SpeechT5ForTextToSpeech(config).eval().save_pretrained(directory)
    vocoder = SpeechT5HifiGanConfig(
        model_in_dim=8,
        upsample_initial_channel=16,
        upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
    )
    SpeechT5HifiGan(vocoder).eval().save_pretrained(directory / "vocoder")
    return str(directory)
