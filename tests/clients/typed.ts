/** A program that the types of owt.js accept; each line after an expected error is one that they refuse. */

import { Client, Event, OwnEvent, RemoteError, ShapedArray, Unreachable } from "owt-client";

interface Point {
  x: number;
}

export async function main(point: Point): Promise<number> {
  const owt = new Client("http://127.0.0.1:9876", { session: "tour", token: undefined });
  const sizes = await owt.call<Record<string, number>>("lambda x: {'size': x}", point, { timeout: 5 });
  await owt.call("len", [1, 2], { env: { OMP_NUM_THREADS: 2, COLOUR: "red" }, cwd: "/usr" });
  const shaped: ShapedArray = Object.assign(new Float64Array(2), { shape: [1, 2] });
  const sum = await owt.call<ShapedArray<Float64Array>>("lambda x, y: x", { x: shaped, y: new Blob(["y"]) });
  console.log(sum[0].toFixed(), sum.shape.length);
  await owt.call(null, {}, { adaptor: "speak", signal: AbortSignal.timeout(1) });
  for await (const event of owt.stream("1")) handle(event);
  for await (const event of owt.stream("1")) if (event.isJSON) console.log(event.json(), event.id);
  for await (const { name, data } of owt.stream<OwnEvent>("1", null, { events: ["mine"] })) console.log(name, data);
  await owt.call("input()", {}, { answer: async ({ prompt, password }) => (password ? null : prompt.trim()) });
  const stream = owt.duplex<number | null>("lambda: request.messages", {}, { onEvent: handle, body: false });
  const recording = owt.microphone({ sampleRate: 8000, audio: { echoCancellation: true } });
  await Promise.all([recording.pipeTo(stream.writable), stream.send({ n: 1 }), stream.end()]);
  for await (const value of stream) console.log(value?.toFixed());
  recording.stop();
  const link: string = owt.link("1", {}, { session: "tour" });
  try {
    await owt.call(link);
  } catch (error) {
    if (error instanceof RemoteError) console.log(error.status, error.problem.detail, error.traceback?.length);
    if (error instanceof Unreachable) console.log(error.message);
  }
  // @ts-expect-error: a mistyped option
  await owt.call("1", {}, { timout: 5 });
  // @ts-expect-error: code is text
  await owt.call(main);
  // @ts-expect-error: an answer is text
  await owt.call("input()", {}, { answer: () => 5 });
  // @ts-expect-error: a value without a type is unknown
  (await owt.call("1")).length;
  return sizes.size ?? 0;
}

function handle(event: Event): string | number {
  switch (event.name) {
    case "bytes":
      return event.data.byteLength;
    case "done":
      return event.data.seconds;
    case "result":
      return event.data.length;
    case "input":
      return event.data.prompt;
    case "display":
      return Object.keys(event.data).length;
    default:
      return event.data;
  }
}
