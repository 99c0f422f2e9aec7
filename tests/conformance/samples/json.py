"""Plain JSON, and what the codec writes for more than that."""

FORMAT = "json"


def samples():
    import safeload

    return {
        "plain": b'{"a": [1, 2.5, null, true, "x"], "b": {}}',
        "list": b"[[1], [2], {}]",
        "marked": safeload.dumps({"t": (1, 2), 3: {b"x"}}, codec="json"),
    }
