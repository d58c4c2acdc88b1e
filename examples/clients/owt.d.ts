/** Types of owt.js, whose first comment is the reference. */

/** Fields of a request, as listed in docs/reference/request-fields.md. */
export interface Fields {
  session?: string | null;
  kernel?: string | null;
  /** Variables of a session that does not exist yet. */
  env?: Record<string, string | number> | null;
  /** Working directory of such a session. */
  cwd?: string | null;
  adaptor?: string | null;
  fn_name?: string | null;
  timeout?: number | null;
  /** Media types of the representation, like `accept`, also in links and events. */
  display?: string | null;
  reload?: boolean | number | null;
  use_cache?: boolean | number | null;
  cache_kwargs?: boolean | number | null;
  cache_key_override?: string | null;
  detach?: boolean | number | null;
}

export interface ClientOptions extends Fields {
  /** Seconds after a connection that failed in which the call is sent again; it runs once. */
  retry?: number | null;
  /** "user:password" */
  auth?: string | null;
  /** A bearer token. */
  token?: string | null;
}

/** What an `input()`, a `getpass()` or a debugger asks. */
export interface Question {
  prompt: string;
  password: boolean;
}

interface Answering extends Fields {
  signal?: AbortSignal | null;
  /** Function that answers questions; null ends the input. */
  answer?: ((question: Question) => string | null | Promise<string | null>) | null;
}

export interface CallOptions extends Answering {
  /** Seconds after a connection that failed in which the call is sent again; it runs once. */
  retry?: number | null;
  /** The Accept header of a call. */
  accept?: string;
  /** Body that the adaptor reads while it is sent. */
  input?: Blob | ReadableStream<Uint8Array> | null;
}

export interface StreamOptions extends Answering {
  /** Seconds after a connection that failed in which the call is sent again; it runs once. */
  retry?: number | null;
  /** Body that the adaptor reads while it is sent, by fetch. */
  input?: Blob | ReadableStream<Uint8Array> | null;
  by?: "fetch" | "EventSource";
  /** Names of an adaptor's own events, for an EventSource. */
  events?: readonly string[];
}

export interface DuplexOptions extends Answering {
  /** Function that gets each event that is no value. */
  onEvent?: ((event: Event) => void) | null;
  /** True: the messages are the parts of the request's body. */
  body?: boolean;
}

/** A call that one talks to while it runs. `Value` is the type of its values. */
export interface Duplex<Value = unknown> extends AsyncIterable<Value> {
  /** Id of the run, or null before the server has begun it. */
  readonly run: string | null;
  readonly readable: ReadableStream<Value>;
  /** Takes what `send` takes. */
  readonly writable: WritableStream<unknown>;
  /** Send a string, bytes (a Blob, an ArrayBuffer, a typed array) or a value as JSON; done when another can follow. */
  readonly send: (message: unknown) => Promise<void>;
  /** End the input; the call goes on. */
  readonly end: () => Promise<void>;
  /** Cancel the call. */
  readonly cancel: () => void;
}

export interface MicrophoneOptions {
  /** Samples a second; 16000. */
  sampleRate?: number;
  /** Samples in each chunk; 512. */
  frames?: number;
  /** Further constraints, such as the deviceId. */
  audio?: MediaTrackConstraints;
}

/** Chunks of 16-bit little-endian mono PCM. */
export interface Microphone extends ReadableStream<Uint8Array> {
  /** End the stream after the last chunk. */
  readonly stop: () => void;
}

export type TypedArray =
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Float32Array
  | Float64Array;

/** An array of NumPy, in row-major order: what `call` returns for one, and an argument of several dimensions. */
export type ShapedArray<A extends TypedArray = TypedArray> = A & { shape: number[] };

/**
 * Arguments, or the input of a pipeline, as values that JSON has; a string is a Python expression. Members may also be
 * a Blob, a File, an ArrayBuffer, a DataView or a TypedArray.
 */
export type Arguments = object | string | number | boolean | null;

interface Received {
  id: string;
  /** True for a yielded or returned value that is not a string; undefined by EventSource. */
  isJSON?: boolean;
  /** The data decoded as JSON; throws a SyntaxError if it is not JSON. */
  json: () => unknown;
}

/** An event of a stream. */
export type Event = Received &
  (
    | { name: "message" | "stdout" | "stderr" | "incomplete"; data: string }
    | { name: "result"; data: string | Uint8Array }
    | { name: "bytes"; data: Uint8Array }
    | { name: "display"; data: Record<string, unknown> }
    | { name: "input"; data: Question }
    | { name: "done"; data: { status: number; seconds: number } }
  );

/** An event that an adaptor writes itself. */
export interface OwnEvent extends Received {
  name: string;
  data: unknown;
}

/** A server's problem document (RFC 9457). */
export interface Problem {
  status: number;
  type?: string;
  title?: string;
  detail?: string;
  exception?: string;
  traceback?: string;
  run?: string | null;
  session?: string | null;
  [member: string]: unknown;
}

/** A failed call, as the server reports it. */
export class RemoteError extends Error {
  constructor(problem: Problem, options?: { cause?: unknown });
  readonly problem: Problem;
  readonly status: number;
  readonly type?: string;
  readonly exception?: string;
  readonly traceback?: string;
  readonly run?: string | null;
  readonly session?: string | null;
}

/** No owt server answers at the URL, or it stopped before the end of the answer. */
export class Unreachable extends Error {
  constructor(message: string, options?: { cause?: unknown });
}

export class Client {
  constructor(url?: string | URL, options?: ClientOptions);
  /** Call `code`, and return its whole answer; `Value` is the type that the caller expects. */
  call<Value = unknown>(code: string | null, kwargs?: Arguments, options?: CallOptions): Promise<Value>;
  /** Call `code`, and yield its events. `E` may be OwnEvent, if the adaptor writes its own. */
  stream<E extends OwnEvent = Event>(
    code: string | null,
    kwargs?: Arguments,
    options?: StreamOptions,
  ): AsyncGenerator<E, void, undefined>;
  /** Begin a call by WebSocket that one talks to while it runs. */
  duplex<Value = unknown>(code: string | null, kwargs?: Arguments, options?: DuplexOptions): Duplex<Value>;
  /** Return the sound of the microphone. */
  microphone(options?: MicrophoneOptions): Microphone;
  /** Return the URL that makes the call by GET. */
  link(code: string | null, kwargs?: Arguments, fields?: Fields): string;
}
