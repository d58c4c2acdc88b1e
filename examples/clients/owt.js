/**
 * Call an owt server from a browser, or from Node 18 or newer. One ES module, no dependencies; types in owt.d.ts.
 *
 *     import { Client } from "./owt.js";
 *
 *     const owt = new Client("http://127.0.0.1:9876", { session: "tour" });
 *     await owt.call("def run(name): return f'Hello, {name}!'", { name: "owt" });   // "Hello, owt!"
 *     await owt.call("[1, 2]");                                                     // [1, 2]
 *     for await (const event of owt.stream("(n * n for n in range(3))"))
 *       console.log(event.name, event.data);
 *
 *     const controller = new AbortController();
 *     const answer = owt.call("import time\ntime.sleep(60)", {}, { signal: controller.signal });
 *     controller.abort();                      // the kernel stops, and `answer` rejects
 *
 * new Client(url, { session, auth, token })
 *     `url` is the server's URL with the path that adaptors see; the default in a page is the page's folder. A
 *     server of another origin must be started with --allow-origin and the page's origin. `auth` is
 *     "user:password"; `token` is a bearer token, instead.
 * call(code, kwargs, options)
 *     A promise of the whole answer: JSON becomes values, a stream of JSON lines an array, text a string,
 *     all other types (images, audio, files) a Blob, and an empty answer without a type null. An array of NumPy or
 *     torch is a typed array with a property `shape`, in row-major order: int64 is a BigInt64Array, float16 a
 *     Float32Array, bool a Uint8Array, and of complex numbers the last axis is the real and the imaginary part.
 *     Types that JavaScript does not have (texts, structures) are the Blob of an npy file.
 * stream(code, kwargs, options)
 *     An async iterator over { name, data, id, isJSON, json() }: the yielded values, prints and displays, as they
 *     happen. `data` is a string; for `bytes` a Uint8Array, for `display` and `done` an object. A yielded value has
 *     the name "message", a returned one "result", whose data is a Uint8Array if it is bytes. A value that is neither
 *     a string nor bytes is JSON. `isJSON` is true for such a value, and so distinguishes the number 1 from the string
 *     "1"; it is undefined by EventSource, which cannot tell (bytes are base64 there). `json()` is
 *     the value: it decodes the data as JSON, or throws a SyntaxError. The loop starts the call; leaving the loop early, or
 *     the page, cancels it. After a lost connection the stream reconnects and continues with the next event.
 * duplex(code, kwargs, options)
 *     A call that one talks to while it runs, by WebSocket:
 *         const stream = owt.duplex("def run():\n  for message in request.messages: yield message.upper()");
 *         await stream.send("one");
 *         stream.end();
 *         for await (const item of stream) console.log(item);                               // ONE
 *     A message is a string, bytes (a Blob, an ArrayBuffer, a typed array), or another value, which is sent as JSON.
 *     `send` waits while the server has yet to receive a mebibyte. `end` ends the input, and the call goes on. An item
 *     is a yielded or returned value: a string, a Uint8Array, or the value of JSON. What is not read is bounded, too:
 *     the adaptor waits. Leaving the loop, or `cancel`, cancels the call. `stream.writable` and `stream.readable` are a
 *     WritableStream and a ReadableStream of the same messages and items. After a lost connection, both directions go
 *     on where they were. Node has WebSockets from version 22 on.
 * microphone(options)
 *     A ReadableStream of the sound of the microphone, as 16-bit little-endian mono PCM (Uint8Arrays):
 *     `owt.microphone().pipeTo(stream.writable)`. `options` are the `sampleRate` (16000), the `frames` of each chunk
 *     (512), and `audio`, further constraints for getUserMedia. Its method `stop` ends it after the last chunk;
 *     that, a `cancel` and an end of the call release the microphone.
 * link(code, kwargs, options)
 *     The URL that makes the same call by GET.
 *
 * A call may take any time, also in Node, whose fetch otherwise gives up after 300 seconds without a byte.
 *
 * `kwargs` are values that JSON has, and objects with a toJSON (a Date). An argument of a call, or of a stream by
 * fetch, may also be a Blob or a File, an ArrayBuffer, a DataView or a Buffer (bytes in Python), or a typed array (an
 * array of NumPy; of its property `shape`, if it has one). Other values (a Map, a Set, a BigInt, NaN, a Promise, a
 * Blob inside a list) throw a TypeError with the name of the argument and the remedy: JSON.stringify would send {} or
 * null for most of them.
 *
 * `code` is Python, or null if `options` select what to call. `options` are the fields of a request, as listed
 * in docs/reference/request-fields.md (adaptor, fn_name, session, timeout, reload, ...), and
 *     signal   an AbortSignal, which cancels the call
 *     accept   the Accept header of a call, whose answer is then decoded by its type alone; the field `display` does
 *              the same, also for links and EventSources, which have no headers of their own
 *     input    a Blob, a File, or a ReadableStream of bytes (Node; Chromium over HTTP/2): the body, which the adaptor
 *              reads from `request.stream` while it is sent. Code and arguments are then in the URL
 *     retry    seconds after a connection that broke or was refused in which the call is sent again, also as an option of
 *              the Client. It has an id for its run, and so runs once. Not for an `input`, an EventSource and a duplex
 *     answer   a function that answers `input()`, `getpass()` and debuggers in the call: it gets { prompt, password }, and
 *              returns a string or null (the input has ended), or a promise of it. If it throws, the call is cancelled
 *     onEvent  of `duplex`: a function that gets each event that is no value (stdout, stderr, display, input, done), in
 *              the form of `stream`
 *     body     of `duplex`: true if the adaptor is to read the messages as the body, from `request.stream`
 *     by       "fetch" (default) or "EventSource". An EventSource needs no streams of the fetch API, but has the
 *              whole call in its URL and sends no `auth` or `token`. `events` lists the names of an adaptor's
 *              own events; such a stream must end with the message [DONE], because an EventSource cannot
 *              distinguish an end from a lost connection. It reads every line end as LF.
 *
 * A failed call rejects with a RemoteError. Its `problem` is the server's problem document (RFC 9457), with the
 * members `status`, `type`, `exception`, `traceback`, `run` and `session`. Unreachable means that no owt server
 * answers at the URL, or that the server stopped. A cancelled call rejects with the signal's reason, like fetch.
 */

const LOCAL = "http://127.0.0.1:9876";
const EVENTS = "text/event-stream";
const PROBLEM = "application/problem+json";
const NPY = "application/x-npy";
const ACCEPT = `${NPY}, application/json;q=0.9, */*;q=0.8`;
const NAMES = ["bytes", "stdout", "stderr", "display", "input", "result", "incomplete", "done"];
const PAUSES = [0, 100, 200, 500, 1000, 1000]; // milliseconds before each attempt to reconnect
const STABLE = 5000; // milliseconds after which a connection is not one more failed attempt
const CANCEL_TIMEOUT = 2000; // milliseconds for the request that cancels a run
const CLOSE_LEFT = 4000; // code with which a WebSocket is closed that does not end the input
const TOO_LARGE = 1009; // code of a WebSocket whose server refuses a large message
const MAX_WAITING = 2 ** 20; // size of the messages that the server has yet to receive, and of the items to be read
const PER_MESSAGE = 64; // what each of them counts beside its data
const MAX_RECORDED = 60; // seconds that a microphone may be ahead of its reader

/** A failed call, as the server reports it. */
export class RemoteError extends Error {
  constructor(problem, options) {
    super([problem.exception || problem.title, problem.detail].filter(Boolean).join(": "), options);
    this.name = "RemoteError";
    this.problem = problem;
    for (const member of ["status", "type", "exception", "traceback", "run", "session"]) {
      this[member] = problem[member];
    }
  }
}

/** No owt server answers at the URL, or it stopped before the end of the answer. */
export class Unreachable extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = "Unreachable";
  }
}

export class Client {
  #url;
  #fields;
  #authorization;
  #retry;
  #base; // the server's base URL, known after its first answer

  constructor(url = globalThis.location ? new URL(".", globalThis.location) : LOCAL, { auth, token, retry, ...fields } = {}) {
    if (auth && token) throw new TypeError("give auth or token, not both");
    this.#url = new URL(url);
    this.#fields = fields;
    this.#retry = retry;
    if (auth) this.#authorization = `Basic ${base64(auth)}`;
    if (token) this.#authorization = `Bearer ${token}`;
  }

  async call(code, kwargs = {}, { signal, accept, input, answer, retry = this.#retry, ...fields } = {}) {
    const accepted = accept ?? ACCEPT;
    const attempts = new Attempts(input == null ? retry : null);
    const ask = async () =>
      await this.#whole(await this.#ask(code, kwargs, fields, accepted, signal, input, attempts), signal);
    const cancel = () => attempts.run && this.#cancel(attempts.run);
    signal?.addEventListener("abort", cancel);
    let headers, body;
    try {
      [{ headers }, body] = answer
        ? await this.#answered(code, kwargs, fields, accepted, signal, input, answer, attempts)
        : await attempts.repeat(ask, signal);
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
    const kind = accept || fields.display || this.#fields.display ? null : headers.get("Owt-Value");
    return await decode(headers.get("Content-Type") ?? "", body, kind);
  }

  stream(code, kwargs = {}, { signal, input, answer, retry = this.#retry, by = "fetch", events = [], ...fields } = {}) {
    const attempts = new Attempts(by === "fetch" && input == null ? retry : null);
    if (by === "fetch") return this.#fetched(code, kwargs, fields, signal, input, answer, attempts);
    if (input != null) throw new TypeError("an EventSource sends no input; stream by fetch");
    if (by !== "EventSource") throw new TypeError(`by: "fetch" or "EventSource"; got ${JSON.stringify(by)}`);
    if (this.#authorization) throw new TypeError("an EventSource sends no auth of its own; stream by fetch");
    if (!globalThis.EventSource) throw new TypeError("there is no EventSource here; stream by fetch");
    return this.#received(this.link(code, kwargs, fields), [...NAMES, ...events], signal, answer);
  }

  duplex(code, kwargs = {}, { signal, answer, onEvent, body, ...fields } = {}) {
    if (!globalThis.WebSocket) throw new TypeError("there is no WebSocket here; Node has one from version 22 on");
    const url = this.link(code, kwargs, fields).replace(/^http/, "ws").replace(/#.*/s, "");
    const encoded = base64(this.#authorization ?? "").replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    const protocols = ["owt.events", ...(encoded ? [`owt.authorization.${encoded}`] : [])];
    return new Duplex(body === true, signal, answer, onEvent, {
      connect: () => new WebSocket(url, protocols),
      cancel: (run) => this.#cancel(run),
      broken: (error, run) => (run ? this.#broken(error, run) : this.#refused(error)),
      events: (following) => this.#events(following),
    });
  }

  microphone(options) {
    return record(options);
  }

  link(code, kwargs = {}, fields = {}) {
    const link = new URL(this.#url);
    for (const [name, text] of texts(this.#called(code, kwargs, fields))) link.searchParams.set(name, text);
    return link.href;
  }

  #called(code, kwargs, fields) {
    const called = { ...this.#fields, ...fields };
    if (code != null) called.code = code;
    // A Map or a FormData has no keys, but is not empty: `json` refuses it.
    if (kwargs != null && (kind(kwargs) !== "Object" || Object.keys(kwargs).length)) called.kwargs = kwargs;
    // Omitted: in a link, undefined would become text.
    for (const name of Object.keys(called)) if (called[name] == null) delete called[name];
    return called;
  }

  #identity() {
    return this.#authorization ? { Authorization: this.#authorization } : {};
  }

  async #ask(code, kwargs, fields, accept, signal, input, { run }) {
    const headers = { ...this.#identity(), Accept: `${PROBLEM}, ${accept}`, ...(run ? { "Owt-Run": run } : {}) };
    const called = this.#called(code, kwargs, fields);
    const parts = takeParts(called);
    let body;
    let url = this.#url;
    if (input != null) {
      url = this.link(code, kwargs, fields);
      headers["Content-Type"] = "application/octet-stream";
      body = input;
    } else if (parts.length) {
      body = new FormData();
      for (const [name, text] of texts(called)) body.append(name, text);
      for (const [name, part] of parts) body.append(`kwargs.${name}`, part);
    } else {
      headers["Content-Type"] = "application/json";
      body = json(called);
    }
    let response;
    try {
      // A ReadableStream needs `duplex`.
      response = await send(url, { method: "POST", headers, body, signal, duplex: "half" });
    } catch (error) {
      throw signal?.aborted ? error : this.#absent(error);
    }
    if (response.status >= 400) throw await refusal(response);
    if (!response.headers.has("Owt-Run")) {
      throw new Unreachable(`the server at ${this.#url.origin} is not an owt server`);
    }
    this.#base = response.headers.get("Owt-Base") ?? "";
    return response;
  }

  /** Return an answer and its whole body. */
  async #whole(response, signal) {
    try {
      return [response, await response.blob()];
    } catch (error) {
      throw signal?.aborted ? error : await this.#broken(error, response.headers.get("Owt-Run"));
    }
  }

  /** Return what `#whole` does, for a call whose questions `answer` answers. */
  async #answered(code, kwargs, fields, accept, signal, input, answer, attempts) {
    const following = this.#follow(signal, answer, attempts);
    try {
      // The server sends events if the call asks, or streams.
      const accepted = `${accept}, ${EVENTS};q=0.1`;
      const ask = () => this.#ask(code, kwargs, fields, accepted, following.signal, input, attempts);
      const response = await attempts.repeat(ask, following.signal);
      if (!response.headers.get("Content-Type")?.startsWith(EVENTS)) {
        return await this.#whole(response, following.signal);
      }
      following.begin(response);
      const whole = this.#wholeOf(following, accept).catch((error) => error);
      for await (const _ of this.#followed(response, following));
      const result = await whole;
      if (result instanceof RemoteError) throw result;
      // Another connection may have been lost, too; the run has ended by now.
      return result instanceof Error ? await this.#wholeOf(following, accept) : result;
    } catch (error) {
      throw following.failed(error);
    } finally {
      following.close();
    }
  }

  /** Return what `#whole` does, of a run that sends events. */
  async #wholeOf({ run, signal }, accept) {
    const headers = { ...this.#identity(), Accept: `${PROBLEM}, ${accept}` };
    const response = await this.#fetchPage(`runs/${run}/answer`, { headers, signal });
    if (response.status >= 400) throw await refusal(response);
    return await this.#whole(response, signal);
  }

  #follow(signal, answer, attempts) {
    let count = 0;
    const reply = async (run, question) => await this.#reply(run, await answer(question), ++count, following.signal);
    const following = new Following((run) => this.#cancel(run), signal, answer && reply, attempts);
    return following;
  }

  /** Answer a question of a run; null ends its input. A repeated answer has the same number, and counts once. */
  async #reply(run, text, number, signal) {
    const isEnd = text == null;
    const headers = { ...this.#identity(), "Content-Type": "text/plain; charset=utf-8", "Owt-Input": number };
    if (isEnd) delete headers["Owt-Input"];
    const options = { method: "POST", headers, body: isEnd ? undefined : String(text), signal };
    let lost;
    for (const pause of PAUSES) {
      await sleep(pause);
      try {
        const response = await this.#fetchPage(`runs/${run}/input${isEnd ? "?end=1" : ""}`, options);
        // The events say why a run, or its input, has ended meanwhile.
        if (response.ok || response.status === 409 || response.status === 404) return;
        throw await refusal(response);
      } catch (error) {
        if (signal.aborted || error instanceof RemoteError) throw error;
        lost = error;
      }
    }
    throw this.#absent(lost);
  }

  async *#fetched(code, kwargs, fields, signal, input, answer, attempts) {
    const following = this.#follow(signal, answer, attempts);
    const ask = () => this.#ask(code, kwargs, fields, EVENTS, following.signal, input, attempts);
    try {
      const response = await attempts.repeat(ask, following.signal);
      following.begin(response);
      yield* this.#followed(response, following, ask);
    } catch (error) {
      throw following.failed(error);
    } finally {
      following.close();
    }
  }

  /** Yield the events of a run that was begun by another connection. */
  async *#events(following) {
    yield* this.#followed(await this.#reconnect(following), following);
  }

  /** Yield the run's events from this answer, and from further ones after each lost connection. */
  async *#followed(response, following, ask) {
    while (response) {
      let lost;
      try {
        for await (const raw of read(response)) yield following.advance(raw);
      } catch (error) {
        if (!(error instanceof Lost)) throw error;
        if (following.signal.aborted) throw error.cause;
        lost = error.cause;
      }
      response = following.over ? null : await this.#reconnect(following, lost, ask);
    }
  }

  /** Return the answer with the next events, or null if there are none. A call without an event is asked again. */
  async #reconnect(following, lost, ask) {
    const headers = { ...this.#identity(), Accept: `${PROBLEM}, ${EVENTS}` };
    for (let pause; (pause = following.nextPause()) !== undefined; ) {
      await sleep(pause);
      try {
        if (ask && following.attempts.run && !following.after) return await ask();
        const path = `runs/${following.run}/events?after=${following.after}`;
        const response = await this.#fetchPage(path, { headers, signal: following.signal });
        if (response.status >= 400 && response.status < 500) throw await refusal(response);
        if (response.ok && response.headers.has("Owt-Run")) return response.status === 204 ? null : response;
      } catch (error) {
        const isFinal = error instanceof RemoteError && !following.attempts.mayRepeat(error);
        if (following.signal.aborted || isFinal) throw error;
        lost = error;
      }
    }
    throw await this.#broken(lost, following.run);
  }

  async *#received(link, names, signal, answer) {
    signal?.throwIfAborted();
    const source = new EventSource(link);
    const following = this.#follow(signal, answer);
    following.shared = /[?&]use_cache=/.test(link);
    const waiting = [];
    let wake = () => {};
    const put = (item) => {
      waiting.push(item);
      wake();
    };
    const onEvent = (event) => put({ name: event.type, data: event.data, id: event.lastEventId });
    const aborted = () => put({ error: following.signal.reason });
    for (const name of ["message", ...names]) source.addEventListener(name, onEvent);
    let begun = false;
    source.addEventListener("open", () => (begun = true));
    // A failure that the server reports and a lost connection have the same name; only the first has data. After a
    // lost connection the browser reconnects; a 204 closes the source.
    source.addEventListener("error", (event) => {
      if (event.data !== undefined) onEvent(event);
      else if (!begun || source.readyState === EventSource.CLOSED || !following.pauses.length) put({ ended: true });
      else following.pauses.shift();
    });
    following.signal.addEventListener("abort", aborted);
    try {
      for (;;) {
        while (!waiting.length) await new Promise((resolve) => (wake = resolve));
        const item = waiting.shift();
        if (item.error) throw item.error;
        if (item.ended) {
          source.close();
          const lost = new Unreachable(`the stream from ${this.#url.origin} could not be opened, or was interrupted`);
          if (!following.run) throw lost;
          return yield* this.#followed(await this.#reconnect(following, lost), following);
        }
        const received = following.advance(item);
        following.over ||= item.name === "message" && item.data === "[DONE]";
        yield received;
        if (following.over) return;
      }
    } catch (error) {
      throw following.failed(error);
    } finally {
      // This also stops the browser from reconnecting.
      source.close();
      following.close();
    }
  }

  /** Return the error for an interrupted answer: the run's failure, if the server reports one. */
  async #broken(error, run) {
    try {
      const answer = await this.#fetchPage(`runs/${run}`, { headers: this.#identity() });
      const { status, session, failure } = await answer.json();
      if (failure) {
        const problem = { status, run, session, ...failure, type: `urn:owt:${failure.type}` };
        return new RemoteError(problem, { cause: error });
      }
    } catch {
      // The server has stopped.
    }
    const message = `the answer from ${this.#url.origin} was interrupted`;
    return new Unreachable(`${message}; the option retry sends such a call again, and it runs once`, { cause: error });
  }

  /** Cancel a run on the server, without waiting for the result; the request may outlive the page. */
  #cancel(run) {
    const signal = AbortSignal.timeout?.(CANCEL_TIMEOUT);
    const options = { method: "DELETE", headers: this.#identity(), keepalive: true, signal };
    this.#fetchPage(`runs/${run}`, options).catch(() => {});
  }

  /** Return the error for a WebSocket that could not be opened. Browsers do not say why. */
  async #refused(error) {
    let response;
    try {
      response = await this.#fetchPage("health/live", { headers: { ...this.#identity(), Accept: PROBLEM } });
    } catch (cause) {
      return this.#absent(cause);
    }
    if (response.status >= 400) return await refusal(response);
    const message = `the WebSocket to ${this.#url.origin} could not be opened, or was interrupted`;
    return new Unreachable(message, { cause: error });
  }

  #absent(cause) {
    const failure = `no server answers at ${this.#url.origin}: ${cause.cause?.message || cause.message}`;
    return new Unreachable(`${failure}; start one: owt serve`, { cause });
  }

  /** Fetch one of the server's own pages. The server's base URL is a prefix of this client's path. */
  async #fetchPage(path, options) {
    const own = this.#url.pathname.replace(/\/+$/, "");
    const bases = this.#base === undefined ? [...new Set(["", own])] : [this.#base];
    let response;
    for (const base of bases) {
      response = await send(new URL(`${base}/_owt/${path}`, this.#url), options);
      if (response.ok || base === this.#base) break;
      if (response.headers.has("Owt-Base")) bases.push((this.#base = response.headers.get("Owt-Base")));
    }
    return response;
  }
}

/** Attempts at a request. With `retry` seconds it has an id for its run, and is sent again until the time is over. */
class Attempts {
  run = null;
  #milliseconds = 0;
  #end = null;
  #pauses = [];

  constructor(retry) {
    if (retry == null) return;
    if (!(retry > 0)) throw new TypeError(`retry: a number of seconds above 0; got ${retry}`);
    const random = Array.from({ length: 4 }, () => Math.floor(Math.random() * 2 ** 32));
    const words = globalThis.crypto?.getRandomValues(new Uint32Array(4)) ?? random;
    this.run = Array.from(words, (word) => word.toString(16).padStart(8, "0")).join("");
    this.#milliseconds = retry * 1000;
  }

  /** Count failures anew. */
  succeed() {
    this.#end = null;
  }

  /** Return the milliseconds before the next attempt, or undefined after the last one. */
  nextPause() {
    if (!this.run) return undefined;
    if (this.#end === null) [this.#end, this.#pauses] = [Date.now() + this.#milliseconds, [...PAUSES]];
    const left = this.#end - Date.now();
    return left > 0 ? Math.min(this.#pauses.shift() ?? 1000, left) : undefined;
  }

  /** Return whether the connection failed, or the server refused the call for the moment or was ended. */
  mayRepeat(error) {
    if (!this.run) return false;
    if (!(error instanceof RemoteError)) return error instanceof Unreachable;
    return error.type === "urn:owt:shutting-down" || (error.type === "urn:owt:busy" && error.run !== this.run);
  }

  async repeat(ask, signal) {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        const pause = !signal?.aborted && this.mayRepeat(error) ? this.nextPause() : undefined;
        if (pause === undefined) throw error;
        await sleep(pause);
        signal?.throwIfAborted();
      }
    }
  }
}

/** Position of a caller in the events of a run, and the caller's answers. Leaving the run cancels it. */
class Following {
  run = null;
  after = 0;
  over = false;
  shared = false;
  pauses = [...PAUSES];
  attempts;
  #controller = new AbortController();
  #cancel;
  #callerSignal;
  #reply;
  #left = false;

  /** `reply(run, question)` answers a question; if it fails, the call is cancelled with its error. */
  constructor(cancel, signal, reply, attempts = new Attempts()) {
    this.run = attempts.run;
    this.attempts = attempts;
    this.#cancel = cancel;
    this.#callerSignal = signal;
    this.#reply = reply;
    // Cancel at once, even if the caller requests no further event.
    this.signal.addEventListener("abort", this.leave);
    globalThis.addEventListener?.("pagehide", this.leave);
    signal?.addEventListener("abort", this.#abort);
    if (signal?.aborted) this.#abort();
  }

  /** Signal of the caller, which a failed reply aborts, too. */
  get signal() {
    return this.#controller.signal;
  }

  #abort = () => this.abort(this.#callerSignal.reason);

  abort(reason) {
    this.#controller.abort(reason);
  }

  begin({ headers }) {
    this.run = headers.get("Owt-Run");
    // Other calls may share this run, so this call must not cancel it.
    this.shared = headers.has("Owt-Cache");
    if (this.signal.aborted) this.leave();
  }

  /** Return the milliseconds before the next attempt to reconnect, or undefined after the last one. */
  nextPause() {
    return this.attempts.run ? this.attempts.nextPause() : this.pauses.shift();
  }

  /** Record the id of an event that has arrived. */
  reach(id) {
    const [, run, number] = /^([\w-]{8,64})-(\d+)$/.exec(id) ?? [];
    if (run) [this.run, this.after] = [run, Number(number)];
    this.pauses = [...PAUSES];
  }

  /** Return an event in the caller's form and advance. Throws a RemoteError for a failure. */
  advance(raw) {
    const before = this.after;
    this.reach(raw.id);
    let result;
    try {
      result = event(raw);
    } catch (error) {
      if (before || !this.attempts.mayRepeat(error)) throw error;
      this.after = 0;
      throw new Lost("", { cause: error });
    }
    this.attempts.succeed();
    // An adaptor may have events of these names of its own.
    this.over = result.name === "done" && typeof result.data?.seconds === "number";
    if (result.name === "input" && typeof result.data?.password === "boolean") {
      this.#reply?.(this.run, result.data).catch((error) => this.#controller.abort(error));
    }
    return result;
  }

  /** Record the error that ends the reading. After an error of this module, no run is left to cancel. */
  failed(error) {
    this.over ||= error instanceof RemoteError || error instanceof Unreachable;
    return error;
  }

  leave = () => {
    if (!this.run || this.over || this.shared || this.#left) return;
    this.#left = true;
    this.#cancel(this.run);
  };

  close() {
    this.leave();
    this.#callerSignal?.removeEventListener("abort", this.#abort);
    globalThis.removeEventListener?.("pagehide", this.leave);
  }
}

/**
 * A call that its client talks to while it runs: `readable` has its values, and `writable` takes its messages.
 *
 * Messages are sent by a WebSocket, and events are read by fetch, since a browser cannot stop receiving a WebSocket.
 * Each connection begins with the number of messages that the server has received; the others are sent again.
 */
class Duplex {
  readable;
  writable;
  #remote;
  #following;
  #onEvent;
  #first;
  #end = crypto.getRandomValues(new Uint32Array(4)).join("-"); // the message that ends the input
  #inputEnded = null; // done when that has been sent
  #outcome = null; // { error } when the call has ended
  #socket = null;
  #isOpen = false; // messages can be sent
  #pushed = Promise.resolve(); // done when the message before can be followed by another
  #unreceived = new Sized(); // messages that the server has yet to receive
  #received = 0; // number of those that it has received
  #items = new Sized(); // values that the caller has yet to read
  #change = null; // done at the next change of the fields above
  #changed = () => {};
  #writing;

  constructor(body, signal, answer, onEvent, remote) {
    const reply = async (run, question) => {
      const text = await answer(question);
      await (text == null ? this.end() : this.#push(String(text)));
    };
    this.#remote = remote;
    this.#onEvent = onEvent;
    this.#following = new Following(remote.cancel, signal, answer && reply);
    this.#first = { start: true, end: this.#end, output: false, ...(body ? { body } : {}) };
    this.readable = new ReadableStream(
      { pull: (controller) => this.#pull(controller), cancel: () => this.cancel() },
      { highWaterMark: 0 },
    );
    this.writable = new WritableStream({
      start: (controller) => void (this.#writing = controller),
      write: (item) => this.send(item),
      close: () => this.end(),
      abort: () => this.cancel(),
    });
    const aborted = () => this.#finish(this.#following.signal.reason, { atOnce: true });
    this.#following.signal.addEventListener("abort", aborted);
    if (this.#following.signal.aborted) aborted();
    else this.#connect().catch((error) => this.#finish(error));
  }

  /** Id of the run, or null before the server has begun it. */
  get run() {
    return this.#following.run;
  }

  /** Send a message; done when another one can follow. */
  async send(item) {
    const message = messageOf(item);
    if (this.#inputEnded) throw new Error("the input of this call has ended");
    await this.#push(message);
  }

  /** End the input. */
  end() {
    // A call that has ended needs no end of its input.
    this.#inputEnded ??= this.#push(this.#end).catch(() => {});
    return this.#inputEnded;
  }

  cancel() {
    this.#following.abort(new DOMException("the call was cancelled", "AbortError"));
  }

  async *[Symbol.asyncIterator]() {
    const reader = this.readable.getReader();
    try {
      for (let item; !(item = await reader.read()).done; ) yield item.value;
    } finally {
      reader.cancel().catch(() => {});
      reader.releaseLock();
    }
  }

  #push(message) {
    const pushed = this.#pushed.then(async () => {
      await this.#until(() => this.#outcome || this.#unreceived.size < MAX_WAITING);
      if (this.#outcome) throw this.#outcome.error ?? new Error("the call has ended");
      this.#unreceived.add(message, message.length ?? message.size);
      if (this.#isOpen) this.#socket.send(message);
    });
    this.#pushed = pushed.catch(() => {});
    return pushed;
  }

  async #pull(controller) {
    await this.#until(() => this.#items.count || this.#outcome);
    if (this.#items.count) {
      controller.enqueue(this.#items.take());
      this.#wake();
    } else if (this.#outcome.error !== undefined) controller.error(this.#outcome.error);
    else controller.close();
  }

  async #until(holds) {
    while (!holds()) await (this.#change ??= new Promise((resolve) => (this.#changed = resolve)));
  }

  #wake() {
    this.#change = null;
    this.#changed();
  }

  /** Keep a connection for messages until the call has ended. */
  async #connect() {
    const following = this.#following;
    let pauses = [...PAUSES];
    while (!this.#outcome) {
      const [began, before] = [performance.now(), this.#received];
      const { code, reason } = await this.#connection();
      if (this.#outcome) return;
      const error = new Error(`the WebSocket was closed with ${code} ${reason}`.trim());
      if (code === TOO_LARGE) {
        following.leave();
        throw new RemoteError({ status: 413, title: "a message is larger than --max-body", run: following.run });
      }
      // The events say how the call has ended.
      if (following.run && (code === 1000 || code === 1011 || code >= 4000)) return;
      if (this.#received > before || performance.now() - began > STABLE) pauses = [...PAUSES];
      const pause = pauses.shift();
      if (!following.run || pause === undefined) throw await this.#remote.broken(error, following.run);
      await sleep(pause);
    }
  }

  /** Connect, and return code and reason of the connection's end. */
  #connection() {
    return new Promise((resolve) => {
      const socket = (this.#socket = this.#remote.connect());
      const { run } = this.#following;
      const first = run ? { resume: `${run}-0`, received: this.#received, output: false } : this.#first;
      socket.onopen = () => (this.#outcome ? socket.close() : socket.send(JSON.stringify(first)));
      socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
      socket.onclose = ({ code, reason }) => {
        socket.onclose = socket.onerror = null;
        this.#isOpen = false;
        resolve({ code, reason });
      };
      socket.onerror = () => socket.onclose({ code: 1006, reason: "" });
    });
  }

  #receive({ event: name, data }) {
    if (name === "open") {
      const isFirst = !this.#following.run;
      this.#following.run = data.run;
      if (this.#outcome) this.#leave();
      else if (isFirst) this.#read().then(() => this.#finish(), (error) => this.#finish(error));
      this.#acknowledge(data.received);
      this.#isOpen = true;
      for (const message of this.#unreceived) this.#socket.send(message);
    } else if (name === "received") this.#acknowledge(data);
    else if (name === "error") this.#finish(new RemoteError(data));
  }

  #acknowledge(received) {
    for (; this.#received < received; this.#received++) this.#unreceived.take();
    this.#wake();
  }

  /** Read the events of the run, as long as the caller reads the values. */
  async #read() {
    for await (const event of this.#remote.events(this.#following)) {
      if (event.name === "message" || event.name === "result" || event.name === "bytes") {
        this.#items.add(event.isJSON ? event.json() : event.data, event.data.length);
        this.#wake();
        await this.#until(() => this.#outcome || this.#items.size < MAX_WAITING);
      } else this.#onEvent?.(event);
      if (this.#outcome) return;
    }
  }

  /** Record the end of the call, and what readers and writers get then; `atOnce`, even if there are values to read. */
  #finish(error, { atOnce = false } = {}) {
    if (this.#outcome) return;
    this.#outcome = { error: this.#following.failed(error) };
    this.#following.over ||= error === undefined;
    if (atOnce) this.#items = new Sized();
    this.#unreceived = new Sized();
    this.#writing?.error(error ?? new Error("the call has ended"));
    this.#leave();
    this.#following.close();
    // Ends the reading.
    if (error !== undefined) this.#following.abort(error);
    this.#wake();
  }

  /** Cancel the run if it goes on, and close the connection; later, if the run is not known yet. */
  #leave() {
    this.#following.leave();
    if (this.#following.run) this.#socket.close(CLOSE_LEFT);
  }
}

/** A queue of values with a size. */
class Sized {
  size = 0;
  #values = [];
  #sizes = [];

  get count() {
    return this.#values.length;
  }

  add(value, size) {
    this.#values.push(value);
    this.#sizes.push(size + PER_MESSAGE);
    this.size += size + PER_MESSAGE;
  }

  take() {
    this.size -= this.#sizes.shift() ?? 0;
    return this.#values.shift();
  }

  [Symbol.iterator]() {
    return this.#values[Symbol.iterator]();
  }
}

/** Return the message of a value: text, bytes that the caller may change afterwards, or JSON. */
function messageOf(item) {
  if (/^(Blob|File)$/.test(kind(item))) return item;
  if (kind(item) === "ArrayBuffer") return new Uint8Array(item.slice());
  if (ArrayBuffer.isView(item)) return new Uint8Array(item.buffer, item.byteOffset, item.byteLength).slice();
  const prefix = '{"message":';
  const text = json({ message: item });
  if (!text.startsWith(prefix)) throw new TypeError(`message: JSON has no ${typeof item}`);
  return typeof item === "string" ? item : text.slice(prefix.length, -1);
}

/** Program of a microphone's thread: samples become chunks of 16 bits at another rate, each the mean of its time. */
const RECORDER = `
registerProcessor("owt-recorder", class extends AudioWorkletProcessor {
  constructor({ processorOptions: { rate, frames } }) {
    super();
    this.step = sampleRate / rate;
    this.left = this.step;
    this.sum = 0;
    this.frames = frames;
    this.begin();
    this.port.onmessage = () => {
      if (this.count) this.send(this.chunk.buffer.slice(0, 2 * this.count));
      this.port.postMessage(null);
      this.stopped = true;
    };
  }
  begin() {
    this.chunk = new DataView(new ArrayBuffer(2 * this.frames));
    this.count = 0;
  }
  send(buffer) {
    this.port.postMessage(buffer, [buffer]);
  }
  add(value) {
    const sample = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
    this.chunk.setInt16(2 * this.count++, sample, true);
    if (this.count === this.frames) {
      this.send(this.chunk.buffer);
      this.begin();
    }
  }
  process([[samples = []]]) {
    for (const sample of samples) {
      let rest = 1;
      while (this.left <= rest) {
        this.add((this.sum + sample * this.left) / this.step);
        rest -= this.left;
        this.left = this.step;
        this.sum = 0;
      }
      this.sum += sample * rest;
      this.left -= rest;
    }
    return !this.stopped;
  }
});
`;

/** Return a stream of the sound of the microphone; see `microphone`. */
function record({ sampleRate = 16000, frames = 512, audio = {} } = {}) {
  if (!(sampleRate > 0)) throw new TypeError(`sampleRate: a number above 0; got ${sampleRate}`);
  if (!Number.isInteger(frames) || frames < 1) throw new TypeError(`frames: a whole number above 0; got ${frames}`);
  let media, context, node;
  let stopped = false;
  const release = () => {
    for (const track of media?.getTracks() ?? []) track.stop();
    if (context && context.state !== "closed") context.close();
  };
  const open = async (controller) => {
    media = await requestMicrophone(audio);
    const fail = (error) => {
      release();
      controller.error(error);
    };
    media.getTracks()[0].onended = () => fail(new Error("the microphone was disconnected, or is not allowed any more"));
    let source;
    try {
      context = new AudioContext({ sampleRate });
      source = context.createMediaStreamSource(media);
    } catch {
      // Firefox does not convert the rate of a microphone; the recorder does.
      context?.close();
      context = new AudioContext();
      source = context.createMediaStreamSource(media);
    }
    const script = URL.createObjectURL(new Blob([RECORDER], { type: "text/javascript" }));
    await context.audioWorklet.addModule(script);
    URL.revokeObjectURL(script);
    node = new AudioWorkletNode(context, "owt-recorder", { processorOptions: { rate: sampleRate, frames } });
    node.onprocessorerror = () => fail(new Error("the recording has failed in the browser"));
    node.port.onmessage = ({ data }) => {
      if (data) controller.enqueue(new Uint8Array(data));
      else {
        release();
        controller.close();
      }
      if (data && controller.desiredSize <= 0) fail(new Error(`the microphone was not read for ${MAX_RECORDED} s`));
    };
    // Its output is silence; without a destination, a browser may not run it.
    source.connect(node).connect(context.destination);
    // Before a click on the page, a browser may keep it suspended.
    context.resume().catch(() => {});
    if (stopped) node.port.postMessage("stop");
  };
  const queue = { highWaterMark: 2 * MAX_RECORDED * sampleRate, size: (chunk) => chunk.length };
  const start = (controller) => open(controller).catch((error) => {
    release();
    throw error;
  });
  const stop = () => {
    stopped = true;
    node?.port.postMessage("stop");
  };
  return Object.assign(new ReadableStream({ start, cancel: release }, queue), { stop });
}

/** Return the microphone's MediaStream. Throws an error that says what its user can do. */
async function requestMicrophone(audio) {
  const devices = globalThis.navigator?.mediaDevices;
  if (!devices) throw new Error("there is no microphone here: it needs a page that was loaded by https, or from localhost");
  try {
    return await devices.getUserMedia({ audio: { channelCount: 1, ...audio } });
  } catch (cause) {
    const reasons = {
      NotAllowedError: "the microphone is not allowed for this page; allow it in the browser's address bar",
      NotFoundError: "there is no microphone",
      NotReadableError: "the microphone cannot be opened; another program may use it",
    };
    const message = reasons[cause.name] ?? `the microphone cannot be opened: ${cause.message}`;
    throw Object.assign(new Error(message, { cause }), { name: cause.name });
  }
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A connection that ended before its answer; `cause` is the reason. */
class Lost extends Error {}

/** Yield the events of an answer. Throws Lost. */
async function* read(response) {
  const reader = response.body.getReader();
  const text = new TextDecoder();
  const parser = new Parser();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause) => {
        throw new Lost("", { cause });
      });
      if (done) return;
      yield* parser.feed(text.decode(value, { stream: true }));
    }
  } finally {
    // If the loop was left early, this closes the connection.
    reader.cancel().catch(() => {});
  }
}

/** Line ends that the server's comments report; other readers of the stream see LF. */
const LINE_ENDS = { "owt cr": "\r", "owt crlf": "\r\n" };

/** Parser of event streams (HTML standard, "Server-sent events"); its input may be divided anywhere. */
class Parser {
  #line = "";
  #afterCR = false;
  #data = [];
  #end = "\n";
  #name = "";
  #id = "";
  #form = "";

  *feed(text) {
    let start = this.#afterCR && text.startsWith("\n") ? 1 : 0;
    if (text) this.#afterCR = text.endsWith("\r");
    const ends = /\r\n|\n|\r/g;
    ends.lastIndex = start;
    for (let end; (end = ends.exec(text)); start = ends.lastIndex) {
      const line = this.#line + text.slice(start, end.index);
      this.#line = "";
      if (line) this.#addLine(line);
      else yield* this.#event();
    }
    this.#line += text.slice(start);
  }

  #addLine(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") {
      this.#data.push(this.#data.length ? this.#end : "", value);
      this.#end = "\n";
    } else if (name === "" && (value === "owt json" || value === "owt base64")) this.#form = value;
    else if (name === "") this.#end = LINE_ENDS[value] ?? this.#end;
    else if (name === "event") this.#name = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
  }

  *#event() {
    const [isJSON, isBase64] = ["owt json", "owt base64"].map((form) => this.#form === form);
    const name = this.#name || "message";
    if (this.#data.length) yield { name, data: this.#data.join(""), id: this.#id, isJSON, isBase64 };
    this.#form = "";
    this.#data = [];
    this.#end = "\n";
    this.#name = "";
  }
}

/** An event in the caller's form. */
class Received {
  constructor(name, data, id, isJSON) {
    Object.assign(this, { name, data, id, isJSON });
  }

  json() {
    if (this.data instanceof Uint8Array) return JSON.parse(new TextDecoder().decode(this.data));
    return typeof this.data === "string" ? JSON.parse(this.data) : this.data;
  }
}

/** Return an event in the caller's form. Throws a RemoteError for a failure. */
function event({ name, data, id, isJSON, isBase64 }) {
  let decoded;
  try {
    if (name === "bytes" || isBase64) decoded = fromBase64(data);
    if (["error", "display", "input", "done"].includes(name)) decoded = JSON.parse(data);
  } catch {
    // An adaptor's own event of this name.
  }
  if (name === "error" && decoded?.title && decoded?.status) throw new RemoteError(decoded);
  return new Received(name, decoded === Object(decoded) && !Array.isArray(decoded) ? decoded : data, id, isJSON);
}

/**
 * Return the value of a whole answer by its Content-Type; `kind` is its header Owt-Value. Text that does not fit its
 * type stays text.
 */
async function decode(contentType, body, kind) {
  const type = contentType.split(";")[0].trim().toLowerCase();
  if (kind === "array" && type === NPY) return readArray(await body.arrayBuffer()) ?? body;
  if (kind === "file") return body;
  const isLines = type === "application/x-ndjson";
  const isJSON = type === "application/json" || type.endsWith("+json");
  if (!(isLines || isJSON || /^text\/|[/+]xml$|\/javascript$/.test(type))) return type || body.size ? body : null;
  const text = await body.text();
  try {
    if (isLines) return text.split("\n").filter((line) => line.trim()).map((line) => JSON.parse(line));
    if (isJSON) return JSON.parse(text);
  } catch {
    // An adaptor may set any type for its answer.
  }
  return text;
}

/** Return the error of an answer with status 400 or above. If an adaptor sent it, `detail` is its text. */
async function refusal(response) {
  const { status, headers } = response;
  const facts = { status, run: headers.get("Owt-Run"), session: headers.get("Owt-Session") };
  const text = await response.text();
  if (headers.get("Content-Type")?.startsWith(PROBLEM)) {
    try {
      return new RemoteError({ ...facts, ...JSON.parse(text) });
    } catch {
      // Use the text itself.
    }
  }
  const title = `the ${facts.run ? "adaptor" : "server"} answered ${status}`;
  let detail = text.trim();
  try {
    // Text of an adaptor is a JSON string for this client.
    if (/^application\/json/.test(headers.get("Content-Type")) && detail[0] === '"') detail = JSON.parse(detail);
  } catch {
    // Use the text itself.
  }
  return new RemoteError({ ...facts, type: "about:blank", title, detail });
}

/**
 * Fetch without a limit of time. Node's fetch (undici) fails after 300 seconds without headers, or without a byte of
 * the body, which would cancel a long call. The dispatcher passes requests to the global one without these limits;
 * other runtimes ignore it.
 */
function send(url, options) {
  // Reading Response loads undici, which defines the dispatcher; a bundler would drop a mere statement.
  const dispatcher = globalThis.Response && globalDispatcher() && { dispatch };
  return fetch(url, dispatcher ? { ...options, dispatcher } : options);
}

function dispatch(options, handler) {
  return globalDispatcher(handler).dispatch({ ...options, headersTimeout: 0, bodyTimeout: 0 }, handler);
}

/** Return undici's global dispatcher, or undefined. Handlers have methods of other names from version 2 on. */
function globalDispatcher(handler = {}) {
  const [first, second] = [1, 2].map((version) => globalThis[Symbol.for(`undici.globalDispatcher.${version}`)]);
  return "onRequestStart" in handler ? (second ?? first) : first;
}

/** Types of the elements of an npy file, and their arrays. A complex number is two elements. */
const ARRAYS = {
  i1: Int8Array,
  i2: Int16Array,
  i4: Int32Array,
  i8: BigInt64Array,
  u1: Uint8Array,
  u2: Uint16Array,
  u4: Uint32Array,
  u8: BigUint64Array,
  f4: Float32Array,
  f8: Float64Array,
  b1: Uint8Array,
  f2: Uint16Array,
  c8: Float32Array,
  c16: Float64Array,
  M8: BigInt64Array,
  m8: BigInt64Array,
};

/** Return the array of an npy file (NumPy's documentation, "numpy.lib.format"); null for a type without one. */
function readArray(buffer) {
  const view = new DataView(buffer);
  const [size, start] = view.getUint8(6) === 1 ? [view.getUint16(8, true), 10] : [view.getUint32(8, true), 12];
  const head = new TextDecoder().decode(new Uint8Array(buffer, start, size));
  // Engines of JavaScript run on little-endian machines.
  const type = /'descr': '[<|]([a-zA-Z]\d+)/.exec(head)?.[1];
  if (!ARRAYS[type]) return null;
  const shape = /'shape': \(([^)]*)\)/.exec(head)[1].split(",").filter((length) => length.trim()).map(Number);
  let values = new ARRAYS[type](buffer.slice(start + size));
  if (type === "f2") values = Float32Array.from(values, half);
  const width = type[0] === "c" ? 2 : 1;
  if (/'fortran_order': True/.test(head)) values = rowMajor(values, shape, width);
  return Object.assign(values, { shape: width > 1 ? [...shape, width] : shape });
}

/** Return the number with these bits (IEEE 754, binary16). */
function half(bits) {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction;
  return (bits >> 15 ? -1 : 1) * (exponent < 31 ? size : fraction ? NaN : Infinity);
}

/** Return the values of a column-major array in row-major order; an element has `width` of them. */
function rowMajor(values, shape, width) {
  const result = new values.constructor(values.length);
  for (let to = 0; to < values.length; to += width) {
    let [from, stride, rest] = [0, width, to / width];
    const places = shape.map(() => 0);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      places[axis] = rest % shape[axis];
      rest = (rest - places[axis]) / shape[axis];
    }
    for (const [axis, place] of places.entries()) {
      from += place * stride;
      stride *= shape[axis];
    }
    for (let part = 0; part < width; part++) result[to + part] = values[from + part];
  }
  return result;
}

/** Return a typed array as an npy file. */
function writeArray(name, values) {
  const shape = values.shape ?? [values.length];
  if (shape.reduce((product, length) => product * length, 1) !== values.length) {
    throw new TypeError(`kwargs.${name}: the shape [${shape}] does not fit ${values.length} elements`);
  }
  const size = values.BYTES_PER_ELEMENT;
  const letter = /^(Big)?U/.test(kind(values)) ? "u" : /^Float/.test(kind(values)) ? "f" : "i";
  const lengths = shape.map((length) => `${length},`).join("");
  const head = `{'descr': '${size > 1 ? "<" : "|"}${letter}${size}', 'fortran_order': False, 'shape': (${lengths}), }`;
  // The elements begin at a multiple of 64 bytes.
  const text = `${head.padEnd(Math.ceil((head.length + 11) / 64) * 64 - 11)}\n`;
  const start = Uint8Array.of(0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, text.length & 255, text.length >> 8);
  return new Blob([start, text, values], { type: NPY });
}

/** Return an argument as a part of a form, or null for a value that is no bytes. */
function partOf(name, value) {
  if (/^(Blob|File)$/.test(kind(value))) return value;
  const isBytes = /^(ArrayBuffer|DataView)$/.test(kind(value)) || globalThis.Buffer?.isBuffer(value);
  if (isBytes) return new Blob([value], { type: "application/octet-stream" });
  return ArrayBuffer.isView(value) ? writeArray(name, value) : null;
}

/** Remove the arguments that are bytes from the fields of a call, and return them as parts of a form. */
function takeParts(called) {
  const { kwargs } = called;
  if (kwargs == null || kind(kwargs) !== "Object" || typeof kwargs.toJSON === "function") return [];
  const parts = Object.entries(kwargs).map(([name, value]) => [name, partOf(name, value)]);
  const taken = parts.filter(([, part]) => part);
  if (taken.length) {
    called.kwargs = { ...kwargs };
    for (const [name] of taken) delete called.kwargs[name];
  }
  return taken;
}

/** Return the fields of a call as names and texts. The code is in base64: a form would change its line ends. */
function texts(called) {
  json(called); // throws for a value that cannot be sent
  return Object.entries(called).map(([name, value]) => {
    const text = typeof value === "object" ? json(value) : String(value);
    return name === "code" || name === "kwargs" ? [`${name}_b64`, base64(text)] : [name, text];
  });
}

const ALONE = "make it an argument of its own (not in a link), or send";
const REMEDIES = {
  ArrayBuffer: `${ALONE} base64 text`,
  BigInt: "send String(it) or Number(it)",
  Blob: `${ALONE} base64 text`,
  DataView: `${ALONE} base64 text`,
  File: `${ALONE} base64 text`,
  FormData: "send Object.fromEntries(it)",
  Headers: "send Object.fromEntries(it)",
  Map: "send Object.fromEntries(it)",
  Promise: "await it",
  Set: "send Array.from(it)",
  URLSearchParams: "send Object.fromEntries(it)",
};

/** Return JSON. Throws a TypeError that names the value which JSON.stringify would lose or replace. */
function json(value) {
  const places = new WeakMap();
  return JSON.stringify(value, function (key, item) {
    const outer = places.get(this);
    const place = () => (outer ? (Array.isArray(this) ? `${outer}[${key}]` : `${outer}.${key}`) : key);
    // A Buffer has a toJSON, and an invalid Date's is null.
    const original = this[key];
    const lost = loss(ArrayBuffer.isView(original) || kind(original) === "Date" ? original : item, this);
    if (lost) {
      const remedy = REMEDIES[lost] ?? (ArrayBuffer.isView(original) ? `${ALONE} Array.from(it)` : "");
      throw new TypeError(`${place()}: JSON has no ${lost}${remedy && `; ${remedy}`}`);
    }
    if (item === Object(item)) places.set(item, place());
    return item;
  });
}

/** Return the name of a value if JSON cannot represent it in `holder`, else "". */
function loss(value, holder) {
  switch (typeof value) {
    case "number":
      return Number.isFinite(value) ? "" : String(value);
    case "string":
      return /\p{Surrogate}/u.test(value) ? "lone surrogate" : "";
    case "bigint":
      return "BigInt";
    case "function":
    case "symbol":
      return typeof value;
    case "undefined":
      // A member that is undefined is omitted, but an item becomes null.
      return Array.isArray(holder) ? "undefined" : "";
    case "object": {
      if (kind(value) === "Date") return Number.isNaN(value.getTime()) ? "Invalid Date" : "";
      return /^(Null|Object|Array|String|Number|Boolean)$/.test(kind(value)) ? "" : kind(value);
    }
  }
  return "";
}

/** Return the name of a value's class; those of programs are "Object". */
function kind(value) {
  return Object.prototype.toString.call(value).slice(8, -1);
}

/** Return the bytes of a base64 text. Throws for other texts. */
function fromBase64(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let index = 0; index < bytes.length; index++) bytes[index] = characters.charCodeAt(index);
  return bytes;
}

/** Return the text's UTF-8 in base64. */
function base64(text) {
  let bytes = "";
  for (const byte of new TextEncoder().encode(text)) bytes += String.fromCharCode(byte);
  return btoa(bytes);
}
