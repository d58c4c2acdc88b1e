"""Ready adaptors, and what they are made of.

Adaptors, callable by name (`adaptor=speak`): every module here that has a function `run`.

    speak      text to speech with a neural voice that works offline

Building blocks:

    encoding   bytes and audio samples to base64 and WAV
    sentences  text to sentences
    stream     Server-Sent Events of one's own

Importing any of these is cheap: whatever is heavy is imported when a function first needs it.
"""
