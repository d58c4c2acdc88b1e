/** Calls of expressions: reads an array of codes as JSON, and writes a description of each value. */

import { Client, RemoteError } from "../../examples/clients/owt.js";

const [url, session] = process.argv.slice(2);
const client = new Client(url, { session });
let text = "";
for await (const chunk of process.stdin) text += chunk;

const descriptions = [];
for (const code of JSON.parse(text)) {
  try {
    descriptions.push(description(await client.call(code)));
  } catch (error) {
    if (!(error instanceof RemoteError)) throw error;
    descriptions.push({ error: error.message });
  }
}
console.log(JSON.stringify(descriptions));

function description(value) {
  if (value instanceof Blob) return { blob: value.type.split(";")[0] };
  if (ArrayBuffer.isView(value)) {
    return { array: value.constructor.name, items: [...value].join(","), shape: value.shape };
  }
  return { json: JSON.stringify(value) };
}
