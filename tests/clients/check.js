/**
 * node check.js: check facts of owt.js in Node. Each line of stdin is a JSON object with a fact's name and its
 * arguments; a line of stdout answers it: null, or the stack of the error.
 */

import { createInterface } from "node:readline";
import * as owt from "../../examples/clients/owt.js";
import { facts } from "./facts.js";

for await (const line of createInterface({ input: process.stdin })) {
  const { fact, ...rest } = JSON.parse(line);
  const stack = await facts[fact]({ owt, ...rest }).then(() => null, (error) => String(error.stack ?? error));
  console.log(JSON.stringify(stack));
}
