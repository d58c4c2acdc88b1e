// The page's program: asks owt to speak, lists what arrives, and plays it without gaps.

import { Client } from "owt";

const owt = new Client(new URL(".", location), { session: "speech", adaptor: "speak" });
const form = document.querySelector("form");
const list = document.querySelector("#events");
const status = document.querySelector("#status");

const LEAD = 0.05; // seconds between the arrival of the first sentence and its sound

/** Plays pieces of audio one right after the other, also when they arrive late. */
class Player {
  #context = new AudioContext();
  #end = 0;
  #last = Promise.resolve();

  /** Plays a WAV in base64 after what came before; `onstart` is called when it is heard, `onend` after it. */
  async play(wav, onstart, onend) {
    const bytes = Uint8Array.from(atob(wav), (each) => each.charCodeAt(0));
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
    // The clock of the audio is not the page's: a silent source that ends when this one starts tells.
    const silence = new ConstantSourceNode(this.#context, { offset: 0 });
    silence.onended = onstart;
    silence.connect(this.#context.destination);
    silence.start();
    silence.stop(start);
  }

  /** Settles when the last piece has been heard. */
  get finished() {
    return this.#last;
  }

  /** Ends the sound, and gives the sound card back. */
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
// Browsers keep a page that was left, and its requests, for a while: it may be returned to.
addEventListener("pagehide", () => controller?.abort());
form.speed.addEventListener("input", () => {
  form.factor.value = `${form.speed.valueAsNumber.toFixed(2)}×`;
});
