/**
 * Call an owt server from a browser, or from Node 18 or newer. One ES module, no dependencies.
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
 *     `url` is the server's, with the path that adaptors see; in a page it is the page's own folder unless
 *     you say otherwise. A server elsewhere has to be started with --allow-origin and the page's origin.
 *     `auth` is "user:password"; `token` is a bearer token, instead.
 * call(code, kwargs, options)
 *     A promise of the whole answer: JSON becomes objects, a stream of JSON lines an array, text a string,
 *     everything else (images, audio) a Blob, and an empty answer of no type null. A number is its text.
 * stream(code, kwargs, options)
 *     An async iterator over { name, data, id }: what the call yields, prints and displays, as it happens.
 *     `data` is a string, of `bytes` a Uint8Array, of `display` and `done` an object. What is yielded has the
 *     name "message"; a value that is no string is JSON. The call begins with the loop; leaving that early,
 *     or the page, cancels it. A stream that loses its connection comes back and goes on with the next event.
 * link(code, kwargs, options)
 *     The URL that makes the same call by GET.
 *
 * `code` is Python; null where `options` say what to call. `options` are the fields of a request, as
 * docs/reference/request-fields.md lists them (adaptor, fn_name, session, timeout, reload, ...), and besides
 *     signal   an AbortSignal, which cancels the call
 *     accept   the Accept header of a call
 *     by       "fetch" (default) or "EventSource", which can do without the fetch API's streams, but has all of
 *              the call in its URL and sends no `auth` or `token` of its own. `events` lists the names that
 *              an adaptor gives to events of its own; such a stream has to end with the message [DONE],
 *              since an EventSource cannot tell an end from a lost connection. It takes each line end for LF.
 *
 * A call that fails rejects with a RemoteError. Its `problem` is the server's problem document (RFC 9457), and
 * `status`, `type`, `exception`, `traceback`, `run` and `session` are the members of it. Unreachable means that
 * there is no owt server at the URL, or that it went away. A call that is cancelled rejects with the signal's
 * reason, as fetch does.
 */

const LOCAL = "http://127.0.0.1:9876";
const EVENTS = "text/event-stream";
const PROBLEM = "application/problem+json";
const NAMES = ["bytes", "stdout", "stderr", "display", "result", "incomplete", "done"];
const PAUSES = [0, 100, 200, 500, 1000, 1000]; // milliseconds before each try to come back
const LEAVING = 2000; // milliseconds that it may take to tell a server that one has left

/** The server says that a call failed, and why. */
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

/** Nothing that answers like an owt server is at the URL, or it went away before the answer's end. */
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
  #base; // the path under which the server lies, once it has said so

  constructor(url = globalThis.location ? new URL(".", globalThis.location) : LOCAL, { auth, token, ...fields } = {}) {
    if (auth && token) throw new TypeError("give auth or token, not both");
    this.#url = new URL(url);
    this.#fields = fields;
    if (auth) this.#authorization = `Basic ${base64(auth)}`;
    if (token) this.#authorization = `Bearer ${token}`;
  }

  async call(code, kwargs = {}, { signal, accept = "application/json, */*;q=0.9", ...fields } = {}) {
    const response = await this.#ask(code, kwargs, fields, accept, signal);
    let body;
    try {
      body = await response.blob();
    } catch (error) {
      throw signal?.aborted ? error : await this.#broken(error, response.headers.get("Owt-Run"));
    }
    return await decoded(response.headers.get("Content-Type") ?? "", body);
  }

  stream(code, kwargs = {}, { signal, by = "fetch", events = [], ...fields } = {}) {
    if (by === "fetch") return this.#fetched(code, kwargs, fields, signal);
    if (by !== "EventSource") throw new TypeError(`by: "fetch" or "EventSource"; got ${JSON.stringify(by)}`);
    if (this.#authorization) throw new TypeError("an EventSource sends no auth of its own; stream by fetch");
    if (!globalThis.EventSource) throw new TypeError("there is no EventSource here; stream by fetch");
    return this.#received(this.link(code, kwargs, fields), [...NAMES, ...events], signal);
  }

  link(code, kwargs = {}, fields = {}) {
    const link = new URL(this.#url);
    for (const [name, value] of Object.entries(this.#called(code, kwargs, fields))) {
      if (name === "code" || name === "kwargs") {
        const text = typeof value === "string" ? value : json(value);
        link.searchParams.set(`${name}_b64`, base64(text));
      } else {
        link.searchParams.set(name, value);
      }
    }
    return link.href;
  }

  #called(code, kwargs, fields) {
    const called = { ...this.#fields, ...fields };
    if (code != null) called.code = code;
    if (Object.keys(kwargs).length) called.kwargs = kwargs;
    // Not said: in a link, undefined would be a word.
    for (const name of Object.keys(called)) if (called[name] == null) delete called[name];
    return called;
  }

  #identity() {
    return this.#authorization ? { Authorization: this.#authorization } : {};
  }

  async #ask(code, kwargs, fields, accept, signal) {
    const headers = { ...this.#identity(), "Content-Type": "application/json", Accept: `${PROBLEM}, ${accept}` };
    const body = json(this.#called(code, kwargs, fields));
    let response;
    try {
      response = await fetch(this.#url, { method: "POST", headers, body, signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Unreachable(`no server answers at ${this.#url.origin}; start one: owt serve`, { cause: error });
    }
    if (response.status >= 400) throw await refusal(response);
    if (!response.headers.has("Owt-Run")) {
      throw new Unreachable(`what answers at ${this.#url.origin} is not an owt server`);
    }
    this.#base = response.headers.get("Owt-Base") ?? "";
    return response;
  }

  async *#fetched(code, kwargs, fields, signal) {
    const response = await this.#ask(code, kwargs, fields, EVENTS, signal);
    const following = new Following((run) => this.#cancel(run), signal);
    following.run = response.headers.get("Owt-Run");
    // Equal calls may have joined this run, or it is another's: then it is not ours to end.
    following.shared = response.headers.has("Owt-Cache");
    try {
      yield* this.#followed(response, following, signal);
    } catch (error) {
      throw following.failed(error);
    } finally {
      following.close();
    }
  }

  /** The run's events from this answer on, and from those that one has to come back for. */
  async *#followed(response, following, signal) {
    while (response) {
      let lost;
      try {
        for await (const each of read(response)) yield following.take(each);
      } catch (error) {
        if (!(error instanceof Lost)) throw error;
        if (signal?.aborted) throw error.cause;
        lost = error.cause;
      }
      response = following.over ? null : await this.#again(following, lost, signal);
    }
  }

  /** The answer with the events that follow, or null if there are none. */
  async #again(following, lost, signal) {
    const headers = { ...this.#identity(), Accept: `${PROBLEM}, ${EVENTS}` };
    for (let pause; (pause = following.pauses.shift()) !== undefined; ) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      try {
        const response = await this.#told(`${following.run}/events?after=${following.after}`, { headers, signal });
        if (response.status >= 400 && response.status < 500) throw await refusal(response);
        if (response.ok && response.headers.has("Owt-Run")) return response.status === 204 ? null : response;
      } catch (error) {
        if (signal?.aborted || error instanceof RemoteError) throw error;
        lost = error;
      }
    }
    throw await this.#broken(lost, following.run);
  }

  async *#received(link, names, signal) {
    signal?.throwIfAborted();
    const source = new EventSource(link);
    const following = new Following((run) => this.#cancel(run), signal);
    following.shared = /[?&]use_cache=/.test(link);
    const waiting = [];
    let wake = () => {};
    const put = (each) => {
      waiting.push(each);
      wake();
    };
    const take = (each) => put({ name: each.type, data: each.data, id: each.lastEventId });
    const aborted = () => put({ error: signal.reason });
    for (const name of ["message", ...names]) source.addEventListener(name, take);
    let begun = false;
    source.addEventListener("open", () => (begun = true));
    // A failure that the server tells of and a lost connection have the same name; only the first has data.
    // The browser comes back to what it has lost, or is told by 204 that nothing follows, and closes.
    source.addEventListener("error", (each) => {
      if (each.data !== undefined) take(each);
      else if (!begun || source.readyState === EventSource.CLOSED || !following.pauses.length) put({ ended: true });
      else following.pauses.shift();
    });
    signal?.addEventListener("abort", aborted);
    try {
      for (;;) {
        while (!waiting.length) await new Promise((resolve) => (wake = resolve));
        const each = waiting.shift();
        if (each.error) throw each.error;
        if (each.ended) {
          source.close();
          const lost = new Unreachable(`the stream from ${this.#url.origin} could not be had, or broke off`);
          if (!following.run) throw lost;
          return yield* this.#followed(await this.#again(following, lost, signal), following, signal);
        }
        const given = following.take(each);
        following.over ||= each.name === "message" && each.data === "[DONE]";
        yield given;
        if (following.over) return;
      }
    } catch (error) {
      throw following.failed(error);
    } finally {
      // Also so that it does not connect again.
      source.close();
      signal?.removeEventListener("abort", aborted);
      following.close();
    }
  }

  /** What it means that an answer broke off: the run knows why. */
  async #broken(error, run) {
    try {
      const answer = await this.#told(run, { headers: this.#identity() });
      const { status, session, failure } = await answer.json();
      if (failure) {
        const problem = { status, run, session, ...failure, type: `urn:owt:${failure.type}` };
        return new RemoteError(problem, { cause: error });
      }
    } catch {
      // Then it is the server that has gone.
    }
    return new Unreachable(`the answer from ${this.#url.origin} broke off`, { cause: error });
  }

  /** Have the server end a run, if it can be told. Nobody waits for that, and it may outlive the page. */
  #cancel(run) {
    const signal = AbortSignal.timeout?.(LEAVING);
    this.#told(run, { method: "DELETE", headers: this.#identity(), keepalive: true, signal }).catch(() => {});
  }

  /** What the server itself says of a run, whatever path it lies under; the adaptor's path follows that. */
  async #told(about, options) {
    const own = this.#url.pathname.replace(/\/+$/, "");
    const bases = this.#base === undefined ? [...new Set(["", own])] : [this.#base];
    let response;
    for (const base of bases) {
      response = await fetch(new URL(`${base}/_owt/runs/${about}`, this.#url), options);
      if (response.ok || base === this.#base) break;
      if (response.headers.has("Owt-Base")) bases.push((this.#base = response.headers.get("Owt-Base")));
    }
    return response;
  }
}

/** How far a caller has come in the events of a run, which ends if it is left. */
class Following {
  run = null;
  after = 0;
  over = false;
  shared = false;
  pauses = [...PAUSES];
  #cancel;
  #signal;
  #left = false;

  constructor(cancel, signal) {
    this.#cancel = cancel;
    this.#signal = signal;
    // At once, even if nobody asks for the next event any more.
    signal?.addEventListener("abort", this.leave);
    globalThis.addEventListener?.("pagehide", this.leave);
  }

  /** An event as its caller gets it. Throws a RemoteError for a failure. */
  take(each) {
    const [, run, number] = /^([0-9a-f]{16})-(\d+)$/.exec(each.id) ?? [];
    if (run) [this.run, this.after] = [run, Number(number)];
    this.pauses = [...PAUSES];
    const given = event(each);
    // An adaptor may have an event `done` of its own.
    this.over = given.name === "done" && typeof given.data?.seconds === "number";
    return given;
  }

  /** This error ends the reading. If it is one of ours, there is nothing left to end. */
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
    this.#signal?.removeEventListener("abort", this.leave);
    globalThis.removeEventListener?.("pagehide", this.leave);
  }
}

/** A connection ended before its answer did; `cause` is how. */
class Lost extends Error {}

/** The events of an answer. Throws Lost. */
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
    // Where the loop was left, this ends the connection.
    reader.cancel().catch(() => {});
  }
}

/** What a comment of the server's says of the line end before it, which readers otherwise take for LF. */
const LINE_ENDS = { "owt cr": "\r", "owt crlf": "\r\n" };

/** Text of an event stream to events (HTML standard, "Server-sent events"); pieces may end anywhere. */
class Parser {
  #line = "";
  #afterCR = false;
  #data = [];
  #end = "\n";
  #name = "";
  #id = "";

  *feed(text) {
    let start = this.#afterCR && text.startsWith("\n") ? 1 : 0;
    if (text) this.#afterCR = text.endsWith("\r");
    const ends = /\r\n|\n|\r/g;
    ends.lastIndex = start;
    for (let end; (end = ends.exec(text)); start = ends.lastIndex) {
      const line = this.#line + text.slice(start, end.index);
      this.#line = "";
      if (line) this.#take(line);
      else yield* this.#event();
    }
    this.#line += text.slice(start);
  }

  #take(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") {
      this.#data.push(this.#data.length ? this.#end : "", value);
      this.#end = "\n";
    } else if (name === "") this.#end = LINE_ENDS[value] ?? this.#end;
    else if (name === "event") this.#name = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
  }

  *#event() {
    if (this.#data.length) yield { name: this.#name || "message", data: this.#data.join(""), id: this.#id };
    this.#data = [];
    this.#end = "\n";
    this.#name = "";
  }
}

/** An event as a caller gets it. Throws a RemoteError for a failure. */
function event({ name, data, id }) {
  let told;
  try {
    if (name === "bytes") told = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
    if (name === "error" || name === "display" || name === "done") told = JSON.parse(data);
  } catch {
    // An adaptor's own event of this name.
  }
  if (name === "error" && told?.title && told?.status) throw new RemoteError(told);
  return { name, data: told === Object(told) && !Array.isArray(told) ? told : data, id };
}

/** The value of a whole answer, by its Content-Type. Text that is not what its type says stays text. */
async function decoded(contentType, body) {
  const type = contentType.split(";")[0].trim().toLowerCase();
  const isLines = type === "application/x-ndjson";
  const isJSON = type === "application/json" || type.endsWith("+json");
  if (!(isLines || isJSON || /^text\/|[/+]xml$|\/javascript$/.test(type))) return type || body.size ? body : null;
  const text = await body.text();
  try {
    if (isLines) return text.split("\n").filter((line) => line.trim()).map((line) => JSON.parse(line));
    if (isJSON) return JSON.parse(text);
  } catch {
    // An adaptor may say what it likes of its answer.
  }
  return text;
}

/** What an answer of status 400 or above says. An adaptor may give one too; then `detail` is its text. */
async function refusal(response) {
  const { status, headers } = response;
  const facts = { status, run: headers.get("Owt-Run"), session: headers.get("Owt-Session") };
  const text = await response.text();
  if (headers.get("Content-Type")?.startsWith(PROBLEM)) {
    try {
      return new RemoteError({ ...facts, ...JSON.parse(text) });
    } catch {
      // The text itself says what there is to say.
    }
  }
  const title = `the server answered ${status}`;
  return new RemoteError({ ...facts, type: "about:blank", title, detail: text.trim() });
}

/** JSON, but never with null for what JSON does not hold. */
function json(value) {
  return JSON.stringify(value, (name, item) => {
    if (typeof item === "function" || (typeof item === "number" && !Number.isFinite(item))) {
      throw new TypeError(`${name}: JSON holds no ${typeof item === "number" ? item : "functions"}`);
    }
    return item;
  });
}

/** Base64 of the text's UTF-8. */
function base64(text) {
  let bytes = "";
  for (const byte of new TextEncoder().encode(text)) bytes += String.fromCharCode(byte);
  return btoa(bytes);
}
