from owt import state


def run() -> str:
    state.count = getattr(state, "count", 0) + 1
    return f"counted to {state.count}"
