"""Ready adaptors and their building blocks.

Adaptors, callable by name (`adaptor=speak`), are the modules with a function `run`:

    speak      text to speech with a neural voice that works offline
    tts        text to speech with any model of transformers
    bark       the same with Bark, by its size
    generate   text generation with any language model of transformers
    shell      a command's output

Building blocks:

    arguments  checks of an adaptor's arguments
    encoding   bytes and audio samples to base64 and WAV
    models     models, loaded once a kernel
    sentences  text to sentences
    stream     an adaptor's own Server-Sent Events

Importing these modules is cheap; a function imports heavy packages when it first needs them.
"""

ADAPTORS = ("bark", "generate", "shell", "speak", "tts")
