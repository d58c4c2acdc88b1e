/** node check.js FACT URL SESSION WAIT OPENING CUT: check a fact of owt.js in Node. */

import * as owt from "../../examples/clients/owt.js";
import { facts } from "./facts.js";

const [fact, url, session, wait, opening, cut] = process.argv.slice(2);
await facts[fact]({ owt, url, session, gate: { wait, opening }, cut });
