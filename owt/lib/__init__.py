"""Ready adaptors, and what they are made of.

Adaptors, callable by name (`adaptor=speak`): every module here that has a function `run`.

    speak      text to speech with a neural voice that works offline
    tts        text to speech with any model of transformers
    bark       the same with Bark, by its size
    generate   text generation with any language model of transformers
    shell      a command's output

Building blocks:

    arguments  what an adaptor's arguments may be
    encoding   bytes and audio samples to base64 and WAV
    models     models of transformers, loaded once
    sentences  text to sentences
    stream     Server-Sent Events of one's own

Importing any of these is cheap: whatever is heavy is imported when a function first needs it.
"""
