"""Goals of owt. Absolute figures depend on the machine, so most goals are ratios."""

from measuring import Goal

WARM = "warm call, 1 client, p50"
WARM_8 = "warm calls, 8 clients on one session"
CPU_FRONTEND = "frontend's CPU time of a warm call, 8 clients"
CPU_KERNEL = "kernel's CPU time of a warm call, 8 clients"
CPU_FRONTEND_64 = "frontend's CPU time of a warm call, 64 clients"
KWARGS = "call with 1 MiB of kwargs, p50"
CPU_BY_LIVE_RUNS = "frontend's CPU time of a warm call, 1,000 live runs"
FIRST_PRINT = "first print to reach a client, p50"
FIRST_YIELD = "first yield to reach a client, p50"
CHUNKS_1K = "1 KiB chunks from a generator"
CHUNKS_64K = "64 KiB chunks"
CHUNKS_1M = "1 MiB chunks"
FROM_POOL = "first answer of a new session from the warm pool"
BY_FORK = "first answer of a new session by fork, pool empty"
FROM_POOL_HEAVY = "from the warm pool, numpy and pandas preloaded"
BY_FORK_HEAVY = "by fork, numpy and pandas preloaded"
ONE_IDLE = "memory of one idle session (PSS)"
IDLE_ANSWERING = "idle sessions: answered again"
IDLE_CPU = "idle sessions: the frontend's CPU time"
STALLED_FRONTEND = "a reader that stops: growth of the frontend"
STALLED_KERNEL = "a reader that stops: growth of the kernel"
SPEECH = "speech: first audio byte, p50"
BODY = "body of 100 MB, to its length"
BODY_GROWTH = "body of 95 MB, to its length"
UPLOAD = "body of 1 GiB that is read and dropped"
UPLOAD_FIRST = "first byte of a body to reach its adaptor, p50"
UPLOAD_FRONTEND = "a body that is not read: growth of the frontend"
UPLOAD_KERNEL = "a body that is not read: growth of the kernel"
ECHO_1K = "1 KiB there and back by WebSocket, p50"
ECHO_64K = "64 KiB messages there and back by WebSocket"
ECHO_8 = "1 KiB there and back by 8 WebSockets at once, p99"
NEIGHBOUR = "a neighbour's slowest health check beside a body of 100 MB"
GAP = "restart: from the new server to the first answer of an old session"
RELOAD = "SIGHUP: the slowest call while the server restarts itself"
KEEP_WARM = "warm call with --keep, 1 client, p50"
KEEP_CHUNKS = "1 KiB chunks from a generator, with --keep"
KEEP_HOST = "memory of the process that keeps sessions (PSS)"
KEEP_IDLE = "memory of one idle session with --keep (PSS)"

MANY = 500
WINDOW_MIB = 4

BARE = "bare Tornado"
WITHOUT_KEEP = "without --keep"
GOALS = {
    WARM: Goal(2.5, against=BARE),
    WARM_8: Goal(0.6, at_most=False, against=BARE),
    CPU_FRONTEND: Goal(1.65, against=BARE),
    CPU_KERNEL: Goal(1, against=BARE),
    CPU_FRONTEND_64: Goal(1.1, against="8 clients"),
    KWARGS: Goal(2, against=f"{BARE} with the same body"),
    CPU_BY_LIVE_RUNS: Goal(1.1, against="1 live run"),
    FIRST_PRINT: Goal(2, "ms", of="figure"),
    FIRST_YIELD: Goal(2, "ms", of="figure"),
    CHUNKS_1K: Goal(0.4, at_most=False, against=BARE),
    CHUNKS_64K: Goal(0.4, at_most=False, against=BARE),
    CHUNKS_1M: Goal(1, at_most=False, against=BARE),
    FROM_POOL: Goal(10, "ms", of="figure"),
    BY_FORK: Goal(60, "ms", of="figure"),
    FROM_POOL_HEAVY: Goal(10, "ms", of="figure"),
    BY_FORK_HEAVY: Goal(60, "ms", of="figure"),
    ONE_IDLE: Goal(14, "MB", of="figure"),
    IDLE_ANSWERING: Goal(MANY, "sessions", at_most=False, of="figure"),
    IDLE_CPU: Goal(2, "% of a core", of="figure"),
    STALLED_FRONTEND: Goal(WINDOW_MIB + 8, "MiB", of="figure"),
    STALLED_KERNEL: Goal(WINDOW_MIB + 8, "MiB", of="figure"),
    BODY: Goal(1000, "ms", of="figure"),
    BODY_GROWTH: Goal(10, against="a body of 10 MB"),
    UPLOAD: Goal(0.4, at_most=False, against=BARE),
    UPLOAD_FIRST: Goal(3, "ms", of="figure"),
    UPLOAD_FRONTEND: Goal(WINDOW_MIB + 8, "MiB", of="figure"),
    UPLOAD_KERNEL: Goal(WINDOW_MIB + 8, "MiB", of="figure"),
    ECHO_1K: Goal(4, against=BARE),
    ECHO_64K: Goal(0.4, at_most=False, against=BARE),
    ECHO_8: Goal(10, "ms", of="figure"),
    NEIGHBOUR: Goal(50, "ms", of="figure"),
    GAP: Goal(500, "ms", of="figure"),
    RELOAD: Goal(500, "ms", of="figure"),
    KEEP_WARM: Goal(1.05, against=WITHOUT_KEEP),
    KEEP_CHUNKS: Goal(0.95, at_most=False, against=WITHOUT_KEEP),
    KEEP_HOST: Goal(25, "MB", of="figure"),
    KEEP_IDLE: Goal(14, "MB", of="figure"),
    SPEECH: Goal(5, "ms", of="difference", against="the model alone"),
}
