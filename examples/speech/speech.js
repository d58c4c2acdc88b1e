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

/** Yield the sentences of the text on the page. */
async function* written(signal, since) {
  const kwargs = { text: form.text.value, speed: form.speed.valueAsNumber, split_type: form.split.value };
  for await (const { name, data } of owt.stream(null, kwargs, { signal })) {
    if (name !== "message") add(since(), `${name}: ${data}`);
    else if (data !== "[DONE]") yield JSON.parse(data);
  }
}

/** Yield the sentences of a text while the user types it. A word is sent when white space follows it. */
async function* typed(signal) {
  const call = owt.duplex(null, { speed: form.speed.valueAsNumber }, { fn_name: "live", signal });
  let sent = "";
  const send = (text) => {
    if (text) call.send(text).catch(() => {});
    sent += text;
  };
  const onInput = () => {
    // The beginning has been sent, so it cannot be changed.
    if (!form.text.value.startsWith(sent)) form.text.value = sent;
    send(/^.*\s/s.exec(form.text.value.slice(sent.length))?.[0] ?? "");
  };
  const onEnd = () => {
    form.live.disabled = form.text.readOnly = true;
    send(form.text.value.slice(sent.length));
    call.end();
  };
  form.text.value = "";
  form.text.focus();
  form.text.addEventListener("input", onInput);
  form.live.addEventListener("click", onEnd);
  form.live.textContent = "End of the text";
  try {
    yield* call;
  } finally {
    form.text.removeEventListener("input", onInput);
    form.live.removeEventListener("click", onEnd);
    form.live.textContent = "Speak while I type";
    form.text.readOnly = false;
  }
}

/** List and play sentences as they arrive. */
async function speak(sentences, signal) {
  const began = performance.now();
  const since = () => `${((performance.now() - began) / 1000).toFixed(2)} s`;
  const player = new Player();
  signal.addEventListener("abort", () => player.close());
  list.replaceChildren();
  show("speaking");
  try {
    for await (const { sentence, chunk, seconds } of sentences(signal, since)) {
      const item = add(since(), sentence, `${seconds.toFixed(1)} s`);
      await player.play(chunk, () => item.classList.add("playing"), () => item.classList.remove("playing"));
    }
    add(since(), "done");
    show("all has arrived");
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

async function begin(sentences) {
  controller = new AbortController();
  form.speak.disabled = form.live.disabled = true;
  form.stop.disabled = false;
  const spoken = speak(sentences, controller.signal);
  // Its button ends the text.
  form.live.disabled = sentences !== typed;
  await spoken;
  form.speak.disabled = form.live.disabled = false;
  form.stop.disabled = true;
  controller = null;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  begin(written);
});
form.live.addEventListener("click", () => controller ?? begin(typed));
form.stop.addEventListener("click", () => controller?.abort());
// Browsers keep a page and its requests for a while after the user leaves it.
addEventListener("pagehide", () => controller?.abort());
form.speed.addEventListener("input", () => {
  form.factor.value = `${form.speed.valueAsNumber.toFixed(2)}×`;
});
