import numpy as np

from owt.lib import speak


def run(sentences: list[str]) -> tuple[int, np.ndarray]:
    """Return speech with a second of silence around each sentence: a WAV, for a client that accepts one."""
    voice = speak.load()
    rate = voice.config.sample_rate
    silence = np.zeros(rate, np.int16)
    sounds = [silence]
    for sentence in sentences:
        sounds += [*(chunk.audio_int16_array for chunk in voice.synthesize(sentence)), silence]
    return rate, np.concatenate(sounds)
