/** node check.js FACT URL SESSION WAIT OPENING: check a fact of owt.js in Node. */

import * as owt from "../../examples/clients/owt.js";
import { facts } from "./facts.js";

const [fact, url, session, wait, opening] = process.argv.slice(2);
await facts[fact]({ owt, url, session, gate: { wait, opening } });
