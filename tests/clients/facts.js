/**
 * What holds for owt.js wherever it runs. Each fact is a function that throws unless it is one:
 *
 *     fact({ owt, url, session, gate, cut })
 *
 * `owt` is the module, `url` a server's that ends no run of events for want of a reader, `session` a name that
 * is free, `gate` the code that waits at a gate and the code that lets one pass (see gate.py), and `cut` the
 * code that cuts every connection to the server (see cutting.py), and gives how many there were.
 */

const YIELDS = `
def run():
    print("counting")
    yield "one"
    yield {"two": 2}
    yield b"\\x03"
    display({"text/plain": "four"}, raw=True)
`;

export const facts = {
  async "text is returned as a string"({ owt, url }) {
    const code = "def run(name): return f'Hello, {name}!'";
    equal(await new owt.Client(url).call(code, { name: "owt ☕ 'x' \"y\"" }), "Hello, owt ☕ 'x' \"y\"!");
  },

  async "numbers, booleans and None are what they are, and an empty answer is null"({ owt, url }) {
    const client = new owt.Client(url);
    for (const [code, value] of [["3.5", 3.5], ["True", true], ["None", null], ["''", ""]]) {
      equal(await client.call(code), value);
    }
    equal(await client.call("6 * 7"), 42);
    equal(await client.call("def run(): return b'', {'Content-Type': ''}"), null);
  },

  async "JSON is decoded and JSON lines become an array"({ owt, url }) {
    const client = new owt.Client(url);
    equal(await client.call("{'word': 'owt', 'parts': (1, 2.5, None)}"), { word: "owt", parts: [1, 2.5, null] });
    equal(await client.call("({'n': n, 'text': 'a\\u2028b'} for n in range(2))"), [
      { n: 0, text: "a\u2028b" },
      { n: 1, text: "a\u2028b" },
    ]);
  },

  async "invalid JSON stays text"({ owt, url }) {
    const code = "def run(): return '{', {'Content-Type': 'application/json'}";
    equal(await new owt.Client(url).call(code), "{");
  },

  async "bytes are returned as a Blob of their type"({ owt, url }) {
    const code = "def run(): return b'\\0\\xff', {'Content-Type': 'audio/wav'}";
    const blob = await new owt.Client(url).call(code);
    equal(blob.type, "audio/wav");
    equal([...new Uint8Array(await blob.arrayBuffer())], [0, 255]);
  },

  async "variables and a directory are those of a new session"({ owt, url, session }) {
    const code = "def run(data): return [os.environ['COLOUR'], os.environ['N'], os.getcwd(), data]\nimport os";
    const env = { COLOUR: "dark red", N: 2 };
    const client = new owt.Client(url, { session, env, cwd: "/usr" });
    equal(await client.call(code, { data: 1 }), ["dark red", "2", "/usr", 1]);
    // As a form and in a link.
    equal(await client.call(code + "\nbytes = len", { data: new Blob(["a"], { type: "text/plain" }) }),
      ["dark red", "2", "/usr", "a"]);
    equal(await (await fetch(client.link(code, { data: 3 }))).json(), ["dark red", "2", "/usr", 3]);
    const error = await rejection(client.call(code, { data: 1 }, { env: { COLOUR: "blue" } }));
    equal([error.status, error.message.includes("delete the session first")], [409, true]);
  },

  async "the field display selects the representation, also in a link"({ owt, url }) {
    const client = new owt.Client(url);
    const code = "from PIL import Image\nImage.new('1', (1, 1))";
    equal((await client.call(code, {}, { display: "image/jpeg" })).type, "image/jpeg");
    const response = await fetch(client.link(code, {}, { display: "image/jpeg" }));
    equal(response.headers.get("Content-Type"), "image/jpeg");
  },

  async "an array is a typed array with its shape"({ owt, url }) {
    const client = new owt.Client(url);
    const arrays = [
      ["arange(6, dtype='f4').reshape(2, 3)", "Float32Array", [0, 1, 2, 3, 4, 5], [2, 3]],
      ["arange(6, dtype='i4').reshape(3, 2).T", "Int32Array", [0, 2, 4, 1, 3, 5], [2, 3]],
      ["arange(24, dtype='u2').reshape(2, 3, 4, order='F')[:, :, 1]", "Uint16Array", [6, 8, 10, 7, 9, 11], [2, 3]],
      ["array([-1, 2 ** 53 + 1])", "BigInt64Array", [-1n, 2n ** 53n + 1n], [2]],
      ["array([1.5, -2 ** -24, 65504], 'f2')", "Float32Array", [1.5, -(2 ** -24), 65504], [3]],
      ["array([-inf, nan, 0], 'f2')", "Float32Array", [-Infinity, NaN, 0], [3]],
      ["array([True, False])", "Uint8Array", [1, 0], [2]],
      ["asfortranarray([[1, 2j], [3, 4]])", "Float64Array", [1, 0, 0, 2, 3, 0, 4, 0], [2, 2, 2]],
      ["array('1970-01-02', 'M8[s]')", "BigInt64Array", [86400n], []],
      ["zeros((0, 2))", "Float64Array", [], [0, 2]],
    ];
    for (const [code, type, items, shape] of arrays) {
      const value = await client.call(`from numpy import *\n${code}`);
      equal([value.constructor.name, [...value].map(String), value.shape], [type, items.map(String), shape], code);
      equal(await client.call("def run(x): return list(x.shape)", { x: value }), shape);
    }
    const texts = await client.call("__import__('numpy').array(['a'])");
    equal([texts instanceof Blob, texts.type], [true, "application/x-npy"]);
    equal(await client.call("__import__('numpy').eye(1)", {}, { accept: "application/json" }), [[1]]);
  },

  async "an image and a file are a Blob, and a table is a list of objects"({ owt, url }) {
    const client = new owt.Client(url);
    const image = await client.call("from PIL import Image\ndef run(): return Image.new('L', (1, 1))");
    equal([image instanceof Blob, image.type], [true, "image/png"]);
    const file = await client.call("open('/dev/null', 'rb')");
    equal([file instanceof Blob, file.size], [true, 0]);
    equal(await client.call("__import__('pandas').DataFrame({'a': [1, 2]})"), [{ a: 1 }, { a: 2 }]);
  },

  async "a session keeps its state and a call may name another"({ owt, url, session }) {
    const client = new owt.Client(url, { session });
    await client.call("x = 41");
    equal(await client.call("x + 1"), 42);
    equal(await client.call("'x' in globals()", {}, { session: `${session}-2` }), false);
  },

  async "options become fields of the request"({ owt, url }) {
    const code = "def go(n): return n * 2\ndef run(n): return n";
    equal(await new owt.Client(url, { fn_name: "go" }).call(code, { n: 21 }), 42);
    const error = await rejection(new owt.Client(url).call(null, { text: "" }, { adaptor: "speak" }));
    equal([error.name, error.exception], ["RemoteError", "ValueError"]);
  },

  async "the adaptor receives the path of the URL"({ owt, url }) {
    equal(await new owt.Client(`${url}/a/path`).call("path().last()"), "path");
  },

  async "a failure carries the problem document"({ owt, url, session }) {
    const error = await rejection(new owt.Client(url, { session }).call("def run(): return 1 / 0"));
    if (!(error instanceof owt.RemoteError) || !(error instanceof Error)) throw error;
    equal(error.message, "ZeroDivisionError: division by zero");
    equal([error.status, error.type, error.exception], [500, "urn:owt:exception", "ZeroDivisionError"]);
    equal(error.problem.detail, "division by zero");
    equal(error.session, session);
    if (!/line 1, in run\n/.test(error.traceback) || !error.run) throw error;
  },

  async "a refusal names the field that cannot be used"({ owt, url }) {
    const error = await rejection(new owt.Client(url).call("1", {}, { fn_name: "1" }));
    equal([error.name, error.status, error.type], ["RemoteError", 400, "urn:owt:bad-request"], error);
    equal(error.problem.detail.startsWith("fn_name: "), true);
  },

  async "an adaptor's own error status is a failure with its text"({ owt, url }) {
    const error = await rejection(new owt.Client(url).call("def run(): return 'brewing', 418"));
    equal([error.name, error.status, error.problem.detail], ["RemoteError", 418, "brewing"]);
  },

  async "an interrupted answer fails with the error that interrupted it"({ owt, url }) {
    const error = await rejection(new owt.Client(url).call("def run():\n    yield 'one'\n    1 / 0"));
    equal([error.name, error.exception, error.status], ["RemoteError", "ZeroDivisionError", 500], error);
  },

  async "a URL without an owt server is unreachable"({ owt, url }) {
    const error = await rejection(new owt.Client("http://127.0.0.1:9").call("1"));
    equal([error.name, error instanceof owt.Unreachable], ["Unreachable", true], error);
    const stranger = await rejection(new owt.Client(`${url}/_owt/health`).call("1"));
    equal([stranger.name, stranger.status], ["RemoteError", 405], stranger);
  },

  async "a value that JSON would lose is refused by its name"({ owt, url }) {
    const client = new owt.Client(url);
    const toJSON = () => ({ type: "Buffer", data: [] });
    const alone = "make it an argument of its own (not in a link), or send";
    const shaped = Object.assign(new Uint8Array(5), { shape: [2, 3] });
    const losses = [
      [NaN, "value: JSON has no NaN"],
      [{ a: [-Infinity] }, "value.a[0]: JSON has no -Infinity"],
      [() => 1, "value: JSON has no function"],
      [Symbol("x"), "value: JSON has no symbol"],
      [[undefined], "value[0]: JSON has no undefined"],
      [[, 1], "value[0]: JSON has no undefined"],
      ["\ud800", "value: JSON has no lone surrogate"],
      [{ a: [{ b: 1n }] }, "value.a[0].b: JSON has no BigInt; send String(it) or Number(it)"],
      [new Date(NaN), "value: JSON has no Invalid Date"],
      [new Map([[1, 2]]), "value: JSON has no Map; send Object.fromEntries(it)"],
      [[new Set([1])], "value[0]: JSON has no Set; send Array.from(it)"],
      [new FormData(), "value: JSON has no FormData; send Object.fromEntries(it)"],
      [[new Blob(["x"])], `value[0]: JSON has no Blob; ${alone} base64 text`],
      [{ image: new Blob(["x"]) }, `value.image: JSON has no Blob; ${alone} base64 text`],
      [[new ArrayBuffer(1)], `value[0]: JSON has no ArrayBuffer; ${alone} base64 text`],
      [[new Uint8Array(1)], `value[0]: JSON has no Uint8Array; ${alone} Array.from(it)`],
      [[Object.assign(new Uint8Array(1), { toJSON })], `value[0]: JSON has no Uint8Array; ${alone} Array.from(it)`],
      [shaped, "value: the shape [2,3] does not fit 5 elements"],
      [Promise.resolve(1), "value: JSON has no Promise; await it"],
      [new Error("x"), "value: JSON has no Error"],
    ];
    for (const [value, message] of losses) {
      const error = await rejection(client.call("lambda value: 1", { value }));
      equal([error.name, error.message], ["TypeError", `kwargs.${message}`]);
    }
    // These have no keys, so they could be taken for no arguments.
    for (const kwargs of [new Map([["n", 1]]), new FormData()]) {
      equal((await rejection(client.call("lambda: 1", kwargs))).message.startsWith("kwargs: JSON has no "), true);
    }
    const refused = await rejection(Promise.resolve().then(() => client.link("1", {}, { session: new Map() })));
    equal(refused.message, "session: JSON has no Map; send Object.fromEntries(it)");
    const link = await rejection(Promise.resolve().then(() => client.link("1", { image: new Blob(["x"]) })));
    equal(link.message, `kwargs.image: JSON has no Blob; ${alone} base64 text`);
  },

  async "bytes, files and typed arrays arrive as what they are"({ owt, url }) {
    const code = `
def run(**kwargs):
    return {name: [type(value).__name__, getattr(value, "tolist", lambda: repr(value))()] for name, value in kwargs.items()}`;
    const shaped = Object.assign(Int16Array.of(1, 2, 3, 4, 5, 6), { shape: [3, 2] });
    const kwargs = {
      blob: new Blob(["\r\n"]), text: new Blob(["ä"], { type: "text/plain" }), buffer: Uint8Array.of(1, 0).buffer,
      view: new DataView(new ArrayBuffer(1)), floats: Float32Array.of(0.5), bigs: BigInt64Array.of(-1n, 2n ** 53n),
      shaped, part: shaped.subarray(1, 2), nothing: new Float64Array(0), "n b": 3,
    };
    equal(await new owt.Client(url).call(code, kwargs), {
      "n b": ["int", "3"], blob: ["bytes", "b'\\r\\n'"], text: ["str", "'ä'"], buffer: ["bytes", "b'\\x01\\x00'"],
      view: ["bytes", "b'\\x00'"], floats: ["ndarray", [0.5]], bigs: ["ndarray", [-1, 2 ** 53]],
      shaped: ["ndarray", [[1, 2], [3, 4], [5, 6]]], part: ["ndarray", [2]], nothing: ["ndarray", []],
    });
    const [event] = await all(new owt.Client(url).stream("lambda x: [len(x)]", { x: new Uint8Array(7) }));
    equal(event.data, "[7]");
    equal(kwargs.floats instanceof Float32Array, true);
  },

  async "a value that JSON represents arrives as it is"({ owt, url }) {
    class Point {
      x = 1;
      #hidden = 2;
    }
    const text = "\u2028☕😀";
    const value = [new Date(0), new Point(), new URL("http://x/"), { left: undefined }, Object("s"), text, -0.5, null];
    equal(await new owt.Client(url).call("lambda value: value", { value }), [
      "1970-01-01T00:00:00.000Z", { x: 1 }, "http://x/", {}, "s", text, -0.5, null,
    ]);
    equal(await new owt.Client(url).call("len", [1, 2]), 2);
    equal(await new owt.Client(url).call("lambda **names: names", null), {});
  },

  async "a stream yields each output as one event"({ owt, url }) {
    const events = await all(new owt.Client(url).stream(YIELDS));
    const { seconds, ...end } = events.at(-1).data;
    equal(typeof seconds, "number");
    equal(end, { status: 200 });
    equal(events.slice(0, -1).map(({ name, data }) => [name, data instanceof Uint8Array ? [...data] : data]), [
      ["stdout", "counting\n"],
      ["message", "one"],
      ["message", '{"two":2}'],
      ["bytes", [3]],
      ["display", { "text/plain": "four" }],
    ]);
  },

  async "an event distinguishes a number from its text"({ owt, url }) {
    const code = "def run():\n    yield 1\n    yield '1'\n    yield [None]\n    yield b'2'\n    yield 'one'";
    const events = await all(new owt.Client(url).stream(code));
    equal(events.slice(0, -1).map(({ data, isJSON }) => [String(data), isJSON]), [
      ["1", true], ["1", false], ["[null]", true], ["50", false], ["one", false],
    ]);
    equal(events.slice(0, 4).map((event) => event.json()), [1, 1, [null], 2]);
    equal((await rejection((async () => events[4].json())())).name, "SyntaxError");
    equal(events.at(-1).json().status, 200);
  },

  async "a returned value is JSON, bytes or a string in a stream"({ owt, url }) {
    const client = new owt.Client(url);
    for (const [code, data, isJSON] of [["1", "1", true], ["'1'", "1", false], ["None", "null", true], ["True", "true", true]]) {
      const [event] = await all(client.stream(code));
      equal([event.name, event.data, event.isJSON], ["result", data, isJSON], code);
    }
    const [bytes] = await all(client.stream("b'\\0\\xff'"));
    equal([bytes.name, ...bytes.data, bytes.isJSON], ["result", 0, 255, false]);
  },

  async "a line end in an event is preserved"({ owt, url }) {
    const text = "10 %\r20 %\r\n\r\r\n\n|\r";
    const code = "def run(text):\n    print(text, end='')\n    yield text\n    return text";
    const events = await all(new owt.Client(url).stream(code, { text }));
    equal(events.slice(0, -1).map(({ name, data }) => [name, data]), [
      ["stdout", text],
      ["message", text],
      ["result", text],
    ]);
  },

  async "an event arrives before the next one is produced"({ owt, url, gate }) {
    const client = new owt.Client(url);
    const code = `def run():\n    yield "first"\n    ${gate.wait}\n    yield "second"`;
    const seen = [];
    for await (const { name, data } of client.stream(code)) {
      if (data === "first") await client.call(gate.opening);
      if (name === "message") seen.push(data);
    }
    equal(seen, ["first", "second"]);
  },

  async "a stream fails where its call failed"({ owt, url }) {
    const events = new owt.Client(url).stream("def run():\n    yield 'one'\n    1 / 0");
    equal((await events.next()).value.data, "one");
    const error = await rejection(events.next());
    equal([error.name, error.exception], ["RemoteError", "ZeroDivisionError"], error);
    equal((await events.next()).done, true);
  },

  async "a stream that cannot begin is a failure"({ owt, url }) {
    const error = await rejection(new owt.Client(url).stream("def run(:").next());
    equal([error.name, error.status], ["RemoteError", 400], error);
  },

  async "an adaptor's own events arrive as it writes them"({ owt, url }) {
    const pieces = ["data: a\r", "\ndata:b\r", "\rdata\n\n", "event: mine\nid: 7\ndata: {\"x\"", ":1}\n: note\n\n",
      "event: bytes\ndata: no base64!\n\n", "event: done\ndata: 1\n\n", "event: error\ndata: [1]\n\n", "data: cut"];
    const code = `def run(): return iter(${JSON.stringify(pieces)}), {"Content-Type": "text/event-stream"}`;
    const events = await all(new owt.Client(url).stream(code));
    equal(events.map(({ name, data }) => [name, data]), [
      ["message", "a\nb"],
      ["message", ""],
      ["mine", '{"x":1}'],
      ["bytes", "no base64!"],
      ["done", "1"],
      ["error", "[1]"],
    ]);
    // The run's id and the event's number, so that one can come back to it.
    equal(events.every(({ id }) => /^[0-9a-f]{16}-\d+$/.test(id)), true, events);
  },

  async "a stream that is cut resumes with the next event"({ owt, url, session, gate, cut }) {
    const client = new owt.Client(url, { session });
    equal(await cuts(client.stream(cutting(gate, cut)), new owt.Client(url), gate, 3), [0, 1, 2, 3, "done"]);
    equal(await client.call("state.runs"), 1);
  },

  async "a call that is cut is sent again with the option retry, and runs once"({ owt, url, session, cut }) {
    const client = new owt.Client(url, { session, retry: 60 });
    const counted = (body) => `def run(data=None):\n    state.runs = getattr(state, "runs", 0) + 1\n    ${body}`;
    equal(await client.call(counted(`assert ${cut} > 0\n    return "whole"`)), "whole");
    equal(await client.call(counted(`yield "one"\n    assert ${cut} > 0\n    yield "two"`)), "onetwo");
    const part = { data: new Blob(["part"]) };
    equal(await client.call(counted(`assert ${cut} > 0\n    return len(data)`), part), 4);
    const events = await all(client.stream(counted(`assert ${cut} > 0\n    yield "whole"`)));
    equal(events.map(({ name, data }) => name === "message" && data), ["whole", false]);
    equal(await client.call("state.runs"), 4);
  },

  async "a call with retry that is aborted is cancelled at once"({ owt, url, session, gate }) {
    const client = new owt.Client(url, { session });
    const controller = new AbortController();
    const { signal } = controller;
    const error = rejection(client.call(`def run(): ${gate.wait}`, {}, { retry: 60, signal }));
    await new owt.Client(url).call(gate.opening.replace(".open()", ".reached()"), {}, { timeout: 20 });
    controller.abort();
    equal((await error).name, "AbortError");
    // The session is free again: the server does not wait for a repeated request.
    equal(await client.call("1"), 1);
  },

  async "retry ends when its time is over"({ owt, session }) {
    const client = new owt.Client("http://127.0.0.1:9", { session });
    equal((await rejection(client.call("1", {}, { retry: 0.2 }))).name, "Unreachable");
    equal((await rejection(client.call("1", {}, { retry: -1 }))).name, "TypeError");
  },

  async "an adaptor's own stream that is cut resumes to its end"({ owt, url, gate, cut }) {
    const code = `
def run():
    def body():
        yield "data: 1\\n\\ndata: 2"
        ${gate.wait}
        assert ${cut} > 0
        yield "3\\n\\nevent: done\\ndata: 4\\n\\n"
    return body(), {"Content-Type": "text/event-stream"}`;
    equal(await cuts(new owt.Client(url).stream(code), new owt.Client(url), gate, 1), [1, 23, "done"]);
  },

  async "a failure during a disconnect fails the stream"({ owt, url, gate, cut }) {
    const code = `def run():\n    yield "first"\n    ${gate.wait}\n    ${cut} > 0 and 1 / 0`;
    const error = await rejection(cuts(new owt.Client(url).stream(code), new owt.Client(url), gate, 1));
    equal([error.name, error.exception], ["RemoteError", "ZeroDivisionError"], error);
  },

  async "a large event in many pieces arrives whole"({ owt, url }) {
    const [event] = await all(new owt.Client(url).stream("def run(): yield '☕' * 1_000_000"));
    equal(event.data === "☕".repeat(1_000_000), true);
  },

  async "a function answers the questions of a call and of a stream"({ owt, url }) {
    const code = `
from getpass import getpass
def run():
    print("asking")
    return [input("Name? "), getpass(), input()]`;
    const questions = [];
    const answers = ["Ä ☕", async () => "secret", ""];
    const answer = (question) => {
      questions.push(question);
      const next = answers[(questions.length - 1) % 3];
      return next instanceof Function ? next() : next;
    };
    const asked = [["Name? ", false], ["Password: ", true], ["", false]].map(([prompt, password]) => ({ prompt, password }));
    const client = new owt.Client(url);
    equal(await client.call(code, {}, { answer }), ["Ä ☕", "secret", ""]);
    const events = await all(client.stream(code, {}, { answer }));
    equal(events.map(({ name, data }) => (name === "done" ? data.status : [name, data])), [
      ["stdout", "asking\n"], ...asked.map((data) => ["input", data]), ["result", '["Ä ☕","secret",""]'], 200,
    ]);
    equal(questions, [...asked, ...asked]);
  },

  async "a call that asks is answered like one that does not"({ owt, url }) {
    const client = new owt.Client(url);
    const answer = () => "";
    const form = async (value) => {
      if (value instanceof Blob) return [value.type, await value.text()];
      return ArrayBuffer.isView(value) ? [String(value), value.shape] : value;
    };
    for (const code of [
      "return __import__('numpy').arange(2)",
      "return b'\\0', {'Content-Type': 'audio/wav'}",
      "yield {'a': 1}\n    yield [2]",
      "yield 'text'\n    yield 'x' * 10_000_000",
      "return None",
      "return '', {'Content-Type': ''}",
      "return {'a': [1]}",
    ]) {
      const [plain, asking, silent] = [
        await client.call(`def run():\n    ${code}`),
        await client.call(`def run():\n    input()\n    ${code}`, {}, { answer }),
        await client.call(`def run():\n    ${code}`, {}, { answer }),
      ];
      equal(await form(asking), await form(plain), code);
      equal(await form(silent), await form(plain), code);
    }
    const error = await rejection(client.call("def run():\n    input()\n    return 'brewing', 418", {}, { answer }));
    equal([error.name, error.status, error.problem.detail], ["RemoteError", 418, "brewing"]);
    const failure = await rejection(client.call("def run():\n    input()\n    1 / 0", {}, { answer }));
    equal([failure.name, failure.status, failure.exception], ["RemoteError", 500, "ZeroDivisionError"]);
  },

  async "an answer of null ends the input, and without a function there is none"({ owt, url }) {
    const client = new owt.Client(url);
    for (const options of [{ answer: () => null }, { answer: () => undefined }, {}]) {
      const error = await rejection(client.call("def run(): return input()", {}, options));
      equal([error.name, error.exception], ["RemoteError", "EOFError"], error);
    }
  },

  async "a failing answer cancels the call"({ owt, url, session }) {
    const client = new owt.Client(url, { session });
    const answer = async () => {
      throw new Error("no answer");
    };
    equal((await rejection(client.call("input()", {}, { answer }))).message, "no answer");
    await cancelled(url, session);
    await fetch(`${url}/_owt/sessions/${session}`, { method: "DELETE" });
    equal((await rejection(all(client.stream("input()", {}, { answer })))).message, "no answer");
  },

  async "aborting a call that asks cancels it in the kernel"({ owt, url, session }) {
    const controller = new AbortController();
    const answer = () => new Promise(() => controller.abort("enough"));
    const client = new owt.Client(url, { session });
    equal(await rejection(client.call("input()", {}, { answer, signal: controller.signal })), "enough");
    await cancelled(url, session);
  },

  async "an answer is sent again after a lost connection, and counts once"({ owt, url, cut }) {
    const code = `
def run():
    first = input()
    assert ${cut} > 0
    return [first, input()]`;
    let count = 0;
    equal(await new owt.Client(url).call(code, {}, { answer: () => `${++count}` }), ["1", "2"]);
  },

  async "aborting a call cancels it in the kernel"({ owt, url, session, gate }) {
    const controller = new AbortController();
    const client = new owt.Client(url, { session });
    const answer = rejection(client.call(`def run(): ${gate.wait}`, {}, { signal: controller.signal }));
    await until(url, session, (found) => found?.state === "busy");
    controller.abort();
    equal((await answer).name, "AbortError");
    await cancelled(url, session);
  },

  async "aborting a stream cancels it in the kernel"({ owt, url, session, gate }) {
    const controller = new AbortController();
    const client = new owt.Client(url, { session });
    const code = `def run():\n    yield "first"\n    ${gate.wait}`;
    const events = client.stream(code, {}, { signal: controller.signal });
    equal((await events.next()).value.data, "first");
    controller.abort("enough");
    equal(await rejection(events.next()), "enough");
    await cancelled(url, session);
  },

  async "leaving the loop cancels the call in the kernel"({ owt, url, session, gate }) {
    const code = `def run():\n    yield "first"\n    ${gate.wait}`;
    for await (const event of new owt.Client(url, { session }).stream(code)) {
      equal(event.data, "first");
      break;
    }
    await cancelled(url, session);
  },

  async "an aborted stream ends without a request for its next event"({ owt, url, session, gate }) {
    const controller = new AbortController();
    const code = `def run():\n    yield "first"\n    ${gate.wait}`;
    const events = new owt.Client(url, { session }).stream(code, {}, { signal: controller.signal });
    equal((await events.next()).value.data, "first");
    controller.abort();
    await cancelled(url, session);
  },

  async "leaving a stream that others may have joined does not cancel it"({ owt, url, session, gate }) {
    const client = new owt.Client(url, { session, use_cache: 1 });
    const code = `def run():\n    yield "first"\n    ${gate.wait}\n    yield "second"`;
    const [mine, others] = [client.stream(code), client.stream(code)];
    const [{ value: one }, { value: two }] = [await mine.next(), await others.next()];
    equal(one.id, two.id);
    await mine.return();
    await new owt.Client(url).call(gate.opening);
    equal((await others.next()).value.data, "second");
  },

  async "a call with an aborted signal is not sent"({ owt, url, session }) {
    const client = new owt.Client(url, { session });
    const options = { signal: AbortSignal.abort() };
    equal((await rejection(client.call("1", {}, options))).name, "AbortError");
    equal((await rejection(client.stream("1", {}, options).next())).name, "AbortError");
    equal((await fetch(`${url}/_owt/sessions/${session}`)).status, 404);
  },

  async "a link calls by GET"({ owt, url, session }) {
    const client = new owt.Client(`${url}/somewhere`, { session });
    const options = { timeout: 20, kernel: undefined, reload: null };
    const link = client.link("def run(name): return f'{name} {request.path}'", { name: "ä+/ ☕?&" }, options);
    const answer = await fetch(link);
    equal(await answer.text(), "ä+/ ☕?& /somewhere");
    equal(answer.headers.get("Owt-Session"), session);
  },
};

/** What holds where there are WebSockets. */
export const withWebSocket = {
  async "a duplex sends messages and receives values, in order"({ owt, url }) {
    const code = `
def run():
    print("begun")
    for message in request.messages:
        yield {"text": message} if isinstance(message, str) else message
    return "end"`;
    const events = [];
    const stream = new owt.Client(url).duplex(code, {}, { onEvent: (event) => events.push(event) });
    const bytes = Uint8Array.of(0, 255);
    const messages = ["", "☕", bytes, bytes.buffer, new Blob([bytes]), Int16Array.of(1), { n: [1, null] }, 3, null];
    for (const message of messages) await stream.send(message);
    bytes.fill(7);
    await stream.end();
    const texts = ["", "☕"].map((text) => ({ text }));
    const values = ['{"n":[1,null]}', "3", "null"].map((text) => ({ text }));
    const received = await all(stream);
    equal(received.map((item) => (item instanceof Uint8Array ? [...item] : item)), [
      ...texts, [0, 255], [0, 255], [0, 255], [1, 0], ...values, "end",
    ]);
    equal(events.map(({ name, data }) => [name, data.status ?? data]), [["stdout", "begun\n"], ["done", 200]]);
    equal((await rejection(stream.send("late"))).message, "the input of this call has ended");
  },

  async "a duplex pipes streams"({ owt, url }) {
    const code = "def run():\n    for message in request.messages: yield message.upper()";
    const { readable, writable } = new owt.Client(url).duplex(code);
    const source = new ReadableStream({
      start(controller) {
        for (const text of ["one", "two"]) controller.enqueue(text);
        controller.close();
      },
    });
    const piped = source.pipeTo(writable);
    const items = [];
    await readable.pipeTo(new WritableStream({ write: (item) => void items.push(item) }));
    await piped;
    equal(items, ["ONE", "TWO"]);
  },

  async "the messages of a duplex can be a body"({ owt, url }) {
    const code = "def run(n):\n    for line in request.stream: yield n, line.decode()";
    const stream = new owt.Client(url).duplex(code, { n: 1 }, { body: true });
    await stream.send("one\ntw");
    await stream.send(new TextEncoder().encode("o\n"));
    await stream.end();
    equal(await all(stream), [[1, "one\n"], [1, "two\n"]]);
  },

  async "a value that cannot be sent as a message is refused"({ owt, url }) {
    const stream = new owt.Client(url).duplex("def run(): return list(request.messages)");
    for (const [value, message] of [
      [new Map(), "message: JSON has no Map; send Object.fromEntries(it)"],
      [[NaN], "message[0]: JSON has no NaN"],
      [undefined, "message: JSON has no undefined"],
      ["\ud800", "message: JSON has no lone surrogate"],
    ]) {
      equal((await rejection(stream.send(value))).message, message);
    }
    await stream.send("a");
    await stream.end();
    equal(await all(stream), [["a"]]);
  },

  async "a duplex fails as its call does, after its values"({ owt, url, session }) {
    const client = new owt.Client(url, { session });
    const stream = client.duplex("def run():\n    yield 1\n    1 / 0");
    const items = stream[Symbol.asyncIterator]();
    equal((await items.next()).value, 1);
    const error = await rejection(items.next());
    equal([error.name, error.exception, error.status, error.session], ["RemoteError", "ZeroDivisionError", 500, session]);
    equal((await rejection(stream.send("x"))).exception, "ZeroDivisionError");
    const refused = await rejection(all(client.duplex("def run(:")));
    equal([refused.name, refused.status, refused.type], ["RemoteError", 400, "urn:owt:syntax"]);
    const done = client.duplex("1");
    equal(await all(done), [1]);
    equal((await rejection(done.send("x"))).message, "the call has ended");
    equal(await done.end(), undefined);
  },

  async "a duplex without a server is unreachable"({ owt }) {
    const client = new owt.Client("http://127.0.0.1:9");
    const error = await rejection(all(client.duplex("1")));
    equal([error.name, error.message.startsWith("no server answers at http://127.0.0.1:9")], ["Unreachable", true], error);
  },

  async "leaving the loop of a duplex cancels the call"({ owt, url, session, gate }) {
    const code = `def run():\n    yield "first"\n    ${gate.wait}`;
    for await (const item of new owt.Client(url, { session }).duplex(code)) {
      equal(item, "first");
      break;
    }
    await cancelled(url, session);
  },

  async "cancelling a duplex cancels its call, whatever it waits for"({ owt, url, session }) {
    const code = "def run():\n    yield 'first'\n    for message in request.messages: pass";
    const client = new owt.Client(url, { session });
    const stream = client.duplex(code);
    const reader = stream.readable.getReader();
    equal((await reader.read()).value, "first");
    const [read, closed] = [rejection(reader.read()), rejection(stream.writable.getWriter().closed)];
    stream.cancel();
    equal([(await read).name, (await closed).name], ["AbortError", "AbortError"]);
    await cancelled(url, session);
  },

  async "aborting a duplex cancels its call"({ owt, url, session, gate }) {
    const controller = new AbortController();
    const client = new owt.Client(url, { session });
    const options = { signal: controller.signal };
    const stream = client.duplex(`def run():\n    yield "first"\n    ${gate.wait}`, {}, options);
    const items = stream[Symbol.asyncIterator]();
    equal((await items.next()).value, "first");
    controller.abort("enough");
    equal([await rejection(items.next()), await rejection(stream.send("x"))], ["enough", "enough"]);
    await cancelled(url, session);
    equal(await rejection(all(client.duplex("1", {}, options))), "enough");
  },

  async "a duplex that is cancelled before it has begun leaves nothing behind"({ owt, url, session }) {
    const client = new owt.Client(url, { session });
    await client.call("1");
    const sockets = watched("WebSocket");
    const stream = client.duplex("def run():\n    for message in request.messages: yield message");
    // As soon as the server has the call, but has not told its id.
    await new Promise((resolve) => sockets[0].addEventListener("open", resolve));
    stream.cancel();
    equal((await rejection(all(stream))).name, "AbortError");
    await until(url, session, (found) => found.state === "idle" && found.calls === 2);
    await new Promise((resolve) => sockets[0].readyState === 3 ? resolve() : sockets[0].addEventListener("close", resolve));
  },

  async "questions are answered by messages of the duplex"({ owt, url }) {
    const code = "def run():\n    name = input('Name? ')\n    return [name, next(request.messages)]";
    const questions = [];
    const answer = async (question) => (questions.push(question), "Ada");
    const stream = new owt.Client(url).duplex(code, {}, { answer });
    const items = stream[Symbol.asyncIterator]();
    const first = items.next();
    await wait(() => questions.length);
    await stream.send("next");
    equal((await first).value, ["Ada", "next"]);
    equal(questions, [{ prompt: "Name? ", password: false }]);
    const failed = new owt.Client(url).duplex(code, {}, { answer: () => Promise.reject(new Error("no answer")) });
    equal((await rejection(all(failed))).message, "no answer");
  },

  async "a failing event function fails the duplex"({ owt, url, session, gate }) {
    const onEvent = () => {
      throw new Error("mine");
    };
    const stream = new owt.Client(url, { session }).duplex(`print(1)\n${gate.wait}`, {}, { onEvent });
    equal((await rejection(all(stream))).message, "mine");
    await cancelled(url, session);
  },

  async "a duplex that is cut goes on in both directions"({ owt, url, session, gate, cut }) {
    const code = `
def run():
    state.runs = getattr(state, "runs", 0) + 1
    for number, message in enumerate(request.messages):
        if number % 50 == 25:
            ${cut}
        yield message`;
    const client = new owt.Client(url, { session });
    const sockets = watched("WebSocket");
    const stream = client.duplex(code);
    const sent = Array.from({ length: 300 }, (_, number) => (number % 3 ? `${number}` : "x".repeat(number * 100)));
    const sending = (async () => {
      for (const message of sent) await stream.send(message);
      await stream.end();
    })();
    equal(await all(stream), sent);
    await sending;
    equal(sockets.length > 1, true);
    equal(await client.call("state.runs"), 1);
  },

  async "a sender waits for an adaptor that does not read"({ owt, url, session, gate }) {
    const code = `
def run():
    yield "begun"
    ${gate.wait}
    yield sum(map(len, request.messages))`;
    const client = new owt.Client(url);
    const stream = client.duplex(code);
    const items = stream[Symbol.asyncIterator]();
    equal((await items.next()).value, "begun");
    const message = new Uint8Array(65536);
    const amount = 64 * 2 ** 20;
    let sent = 0;
    const sending = (async () => {
      for (; sent < amount; sent += message.length) await stream.send(message);
      await stream.end();
    })();
    await wait(async () => {
      const before = sent;
      await client.call("1");
      return sent > 0 && sent === before;
    });
    equal(sent < 16 * 2 ** 20, true, sent);
    await client.call(gate.opening);
    equal((await items.next()).value, amount);
    await sending;
  },

  async "an adaptor waits for a caller that does not read"({ owt, url, session }) {
    const [count, size] = [4096, 2 ** 17];
    const code = `
def run():
    for number in range(${count}):
        yield [number, "x" * ${size}]`;
    const client = new owt.Client(url, { session });
    const stream = client.duplex(code);
    const items = stream[Symbol.asyncIterator]();
    equal((await items.next()).value[0], 0);
    let bytes = 0;
    await wait(async () => {
      const before = bytes;
      const { runs } = await (await fetch(`${url}/_owt/runs?session=${session}`)).json();
      bytes = runs.at(-1).bytes;
      return bytes === before;
    });
    // The buffers of the system may hold some of them.
    equal(bytes < (count * size) / 2, true, bytes);
    for (let expected = 1; expected < 100; expected++) equal((await items.next()).value[0], expected);
    await items.return();
    await cancelled(url, session);
  },
};

/** What holds where there are EventSources. */
export const withEventSource = {
  async "an EventSource receives the same events as fetch"({ owt, url }) {
    const client = new owt.Client(url);
    const names = (events) => events.map(({ name, data }) => [name, name === "done" ? data.status : String(data)]);
    const opened = watched();
    const events = await all(client.stream(YIELDS, {}, { by: "EventSource" }));
    equal(names(events), names(await all(client.stream(YIELDS))));
    equal(events.every(({ isJSON }) => isJSON === undefined), true);
    equal(events.find(({ name, data }) => name === "message" && data !== "one").json(), { two: 2 });
    equal(opened.map((each) => each.readyState), [EventSource.CLOSED]);
  },

  async "a function answers the questions of an EventSource"({ owt, url }) {
    const options = { by: "EventSource", answer: ({ prompt }) => `${prompt}yes` };
    const events = await all(new owt.Client(url).stream("def run(): return input('? ')", {}, options));
    equal(events.map(({ name, data }) => (name === "done" ? data.status : [name, data])), [
      ["input", { prompt: "? ", password: false }], ["result", "? yes"], 200,
    ]);
  },

  async "an EventSource receives the failure of a call"({ owt, url }) {
    const opened = watched();
    const events = new owt.Client(url).stream("def run():\n    yield 'one'\n    1 / 0", {}, { by: "EventSource" });
    equal((await events.next()).value.data, "one");
    const error = await rejection(events.next());
    equal([error.name, error.exception], ["RemoteError", "ZeroDivisionError"], error);
    equal(opened.map((each) => each.readyState), [EventSource.CLOSED]);
  },

  async "an EventSource reads an adaptor's own events"({ owt, url }) {
    const code = `
from owt.lib import stream
def run():
    return stream.response(lambda: ["event: mine\\ndata: 1\\n\\n", {"n": 2}])
`;
    const events = await all(new owt.Client(url).stream(code, {}, { by: "EventSource", events: ["mine"] }));
    equal(events.map(({ name, data }) => [name, data]), [
      ["mine", "1"],
      ["message", '{"n":2}'],
      ["message", "[DONE]"],
    ]);
  },

  async "an EventSource receives the end of an adaptor's own events"({ owt, url, session }) {
    const opened = watched();
    const client = new owt.Client(url, { session });
    const code = `
def run():
    state.runs = getattr(state, "runs", 0) + 1
    return iter(["data: 1\\n\\n"]), {"Content-Type": "text/event-stream"}`;
    const events = await all(client.stream(code, {}, { by: "EventSource" }));
    equal(events.map(({ data }) => data), ["1"]);
    equal(opened.map((each) => each.readyState), [EventSource.CLOSED]);
    equal(await client.call("state.runs"), 1);
  },

  async "an EventSource that is cut resumes with the next event"({ owt, url, session, gate, cut }) {
    const client = new owt.Client(url, { session });
    const events = client.stream(cutting(gate, cut, 1), {}, { by: "EventSource" });
    equal(await cuts(events, new owt.Client(url), gate, 1), [0, 1, "done"]);
    equal(await client.call("state.runs"), 1);
  },

  async "an EventSource that cannot connect is unreachable"({ owt, url }) {
    const opened = watched();
    const error = await rejection(new owt.Client(`${url}/_owt/health`).stream("1", {}, { by: "EventSource" }).next());
    equal(error.name, "Unreachable", error);
    equal(opened.map((each) => each.readyState), [EventSource.CLOSED]);
  },

  async "aborting closes the EventSource and cancels the call in the kernel"({ owt, url, session, gate }) {
    const controller = new AbortController();
    const code = `def run():\n    yield "first"\n    ${gate.wait}`;
    const options = { by: "EventSource", signal: controller.signal };
    const events = new owt.Client(url, { session }).stream(code, {}, options);
    equal((await events.next()).value.data, "first");
    controller.abort("enough");
    equal(await rejection(events.next()), "enough");
    await cancelled(url, session);
  },

  async "the page's own folder is the default server"({ owt }) {
    equal(await new owt.Client().call("6 * 7"), 42);
  },
};

/** Counts; before each number but the first it waits at the gate and cuts its own connection. */
function cutting(gate, cut, last = 3) {
  return `
def run():
    state.runs = getattr(state, "runs", 0) + 1
    yield 0
    for n in range(1, ${last + 1}):
        ${gate.wait}
        assert ${cut} > 0
        yield n
`;
}

/** Return what these events say; the gate is opened after each of the first `times`. */
async function cuts(events, client, gate, times) {
  const seen = [];
  for await (const { name, data } of events) {
    seen.push(name === "message" ? Number(data) : name);
    // The response may be cut off as well. Chromium then repeats the request, and no adaptor waits at the gate.
    if (seen.length <= times) await client.call(gate.opening, {}, { timeout: 5 }).catch(() => {});
  }
  return seen;
}

/** The EventSources, or objects of another class, that are made from now on. */
function watched(name = "EventSource") {
  const made = [];
  globalThis[name] = class extends globalThis[name] {
    constructor(...options) {
      super(...options);
      made.push(this);
    }
  };
  return made;
}

/** Wait until something holds. */
async function wait(holds) {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 10));
}

function equal(actual, expected, cause) {
  const [got, wanted] = [actual, expected].map((each) => JSON.stringify(each));
  if (got !== wanted) throw new Error(`${got} instead of ${wanted}`, { cause });
}

async function all(events) {
  const found = [];
  for await (const event of events) found.push(event);
  return found;
}

async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("this should have failed");
}

/** Ask the server for a session until what it says of it will do. */
async function until(url, session, holds) {
  const deadline = Date.now() + 20000;
  for (;;) {
    const answer = await fetch(`${url}/_owt/sessions/${session}`);
    const found = answer.ok ? await answer.json() : null;
    if (holds(found)) return found;
    if (Date.now() > deadline) throw new Error(`still ${JSON.stringify(found)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Wait until the session is idle, and see that its only run was cancelled and its kernel is the first. */
async function cancelled(url, session) {
  const { restarts } = await until(url, session, (found) => found?.state === "idle");
  const { runs } = await (await fetch(`${url}/_owt/runs`)).json();
  const ended = runs.filter((run) => run.session === session).map((run) => [run.state, run.failure?.type]);
  equal([restarts, ended], [0, [["failed", "cancelled"]]]);
}
