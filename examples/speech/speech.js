// The page's program: request speech, list the events, and play the audio without gaps.

import { Client } from "owt";

const owt = new Client(new URL(".", location), { session: "speech", adaptor: "speak" });
const form = document.querySelector("form");
const list = document.querySelector("#events");
const status = document.querySelector("#status");

const LEAD = 0.05; // seconds between the arrival of the first sentence and its sound

/** A player of successive pieces of audio, which may arrive late. */
class Player {
  #context = new AudioContext();
  #end = 0;
  #last = Promise.resolve();

  /** Play a WAV in base64 after the previous ones; call `onstart` and `onend` when its sound starts and ends. */
  async play(wav, onstart, onend) {
    const bytes = Uint8Array.from(atob(wav), (character) => character.charCodeAt(0));
    const buffer = await this.#context.decodeAudioData(bytes.buffer);
    if (this.#context.state === "closed") return;
    const source = new AudioBufferSourceNode(this.#context, { buffer });
    source.connect(this.#context.destination);
    const start = Math.max(this.#end, this.#context.currentTime + LEAD);
    this.#end = start + buffer.duration;
    source.start(start);
    this.#last = new Promise((resolve) => {
      source.onended = () => {
        onend();
        resolve();
      };
    });
    // Audio has a clock of its own: a silent source that ends at the start of this one reports the time.
    const silence = new ConstantSourceNode(this.#context, { offset: 0 });
    silence.onended = onstart;
    silence.connect(this.#context.destination);
    silence.start();
    silence.stop(start);
  }

  /** Promise that settles after the last piece. */
  get finished() {
    return this.#last;
  }

  /** Stop the sound and release the sound card. */
  async close() {
    if (this.#context.state !== "closed") await this.#context.close();
  }
}

async function speak(signal) {
  const began = performance.now();
  const since = () => `${((performance.now() - began) / 1000).toFixed(2)} s`;
  const player = new Player();
  signal.addEventListener("abort", () => player.close());
  const kwargs = { text: form.text.value, speed: form.speed.valueAsNumber, split_type: form.split.value };
  list.replaceChildren();
  show("speaking");
  try {
    for await (const { name, data } of owt.stream(null, kwargs, { signal })) {
      if (name !== "message") {
        add(since(), `${name}: ${data}`);
      } else if (data === "[DONE]") {
        add(since(), "done");
        show("all has arrived");
      } else {
        const { sentence, chunk, seconds } = JSON.parse(data);
        const item = add(since(), sentence, `${seconds.toFixed(1)} s`);
        await player.play(chunk, () => item.classList.add("playing"), () => item.classList.remove("playing"));
      }
    }
    await Promise.race([player.finished, new Promise((resolve) => signal.addEventListener("abort", resolve))]);
    show(signal.aborted ? "stopped" : "ready");
  } catch (error) {
    if (signal.aborted) {
      show("stopped");
    } else {
      add(since(), error.message).classList.add("wrong");
      show("failed", "wrong");
    }
  } finally {
    for (const item of list.children) item.classList.remove("playing");
    await player.close();
  }
}

function add(time, text, length = "") {
  const item = document.createElement("li");
  for (const [tag, content] of [["time", time], ["span", text], ["small", length]]) {
    item.append(Object.assign(document.createElement(tag), { textContent: content }));
  }
  list.append(item);
  return item;
}

function show(text, kind = "") {
  status.textContent = text;
  status.className = kind;
}

let controller = null;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  controller = new AbortController();
  form.speak.disabled = true;
  form.stop.disabled = false;
  await speak(controller.signal);
  form.speak.disabled = false;
  form.stop.disabled = true;
});
form.stop.addEventListener("click", () => controller.abort());
// Browsers keep a page and its requests for a while after the user leaves it.
addEventListener("pagehide", () => controller?.abort());
form.speed.addEventListener("input", () => {
  form.factor.value = `${form.speed.valueAsNumber.toFixed(2)}×`;
});
