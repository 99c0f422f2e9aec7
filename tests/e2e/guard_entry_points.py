"""Ways to unpickle in one process, tried under the guard; run by test_guard.py as ``guard_entry_points.py early|late FOLDER``.

``early``: the guard is installed before the libraries are imported and the classes made; ``late``: afterwards. Prints, as
JSON, for each way whether the benign object came back, what the hostile one ended with, and what ``status()`` says.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections import OrderedDict
from pathlib import Path

WHEN, FOLDER = sys.argv[1], Path(sys.argv[2])
HOOK = sys.argv[3] if len(sys.argv) > 3 else ""
# fickling's hook takes an OrderedDict for an attack.
BENIGN = {"a": [1, "text"]} if HOOK else OrderedDict(a=[1, 2.5, "text"], b={"c": None})


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, name):
        self.path = str(FOLDER / f"ran-{name}")

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


def written(name, obj, protocol=4):
    path = FOLDER / name
    path.write_bytes(pickle.dumps(obj, protocol))
    return path


def guard():
    import safeload.guard

    safeload.guard.install("refuse", policy=["data", "numpy", "pandas"])


def ways():
    """Name -> a function that loads an object that was written with the name as its file's."""
    import _pickle
    import functools
    import io
    import multiprocessing
    import multiprocessing.reduction
    import shelve

    import cloudpickle
    import dill
    import joblib
    import numpy as np
    import pandas as pd

    from_pickle = pickle.loads

    def by_default(data, loads=pickle.loads):
        return loads(data)

    partial = functools.partial(pickle.loads)

    class Plain(pickle.Unpickler):
        pass

    class Asks(pickle.Unpickler):
        def find_class(self, module, name):
            return super().find_class(module, name)

    class Alone(pickle.Unpickler):
        def find_class(self, module, name):
            return getattr(__import__(module), name)

    class Persistent(pickle.Unpickler):
        def persistent_load(self, pid):
            return pid

    class Python(pickle._Unpickler):
        pass

    class Holder:
        loads = pickle.loads

    def by_bytes(load):
        return lambda name, obj: load(pickle.dumps(obj, 4))

    def by_file(load):
        return lambda name, obj: load(io.BytesIO(pickle.dumps(obj, 4)))

    def by_class(kind):
        return lambda name, obj: kind(io.BytesIO(pickle.dumps(obj, 4))).load()

    def of_file(load, **options):
        def way(name, obj):
            with written(name, obj).open("rb") as file:
                return load(file, **options)

        return way

    def of_npy(name, obj, save=np.save, ending=".npy"):
        array = np.empty(1, object)
        array[0] = obj
        save(FOLDER / (name + ending), array)
        loaded = np.load(FOLDER / (name + ending), allow_pickle=True)
        return (loaded if ending == ".npy" else loaded["arr_0"])[0]

    def of_joblib(name, obj, **how):
        joblib.dump(obj, FOLDER / name, **how)
        return joblib.load(FOLDER / name)

    def of_joblib_file(name, obj):
        with written(name, obj).open("rb") as file:
            return joblib.load(file)

    def of_shelf(name, obj):
        with shelve.open(str(FOLDER / f"{name}-shelf")) as shelf:
            shelf["key"] = obj
        with shelve.open(str(FOLDER / f"{name}-shelf")) as shelf:
            return shelf["key"]

    def of_pipe(name, obj):
        one, other = multiprocessing.Pipe()
        one.send_bytes(pickle.dumps(obj))
        return other.recv()

    def of_queue(name, obj):
        queue = multiprocessing.SimpleQueue()
        queue.put(obj)
        return queue.get()

    def of_python_2(name, obj):
        if isinstance(obj, Hostile):
            return pickle.loads(b"cposix\nmkdir\n(V" + obj.path.encode() + b"\ntR.")
        return pickle.loads(pickle.dumps(obj, 0))

    def of_python_2_unjudged(name, obj):
        if isinstance(obj, Hostile):
            return Holder.loads(b"c__builtin__\neval\n(V__import__('os').mkdir(" + repr(obj.path).encode() + b")\ntR.")
        return Holder.loads(pickle.dumps(obj, 0))

    def of_memory(name, obj):
        from joblib.numpy_pickle import load

        joblib.dump(obj, FOLDER / name)
        return load(str(FOLDER / name))

    return {
        "pickle.load": by_file(lambda file: pickle.load(file)),
        "pickle.loads": by_bytes(lambda data: pickle.loads(data)),
        "_pickle.load": by_file(lambda file: _pickle.load(file)),
        "_pickle.loads": by_bytes(lambda data: _pickle.loads(data)),
        "from pickle import loads": by_bytes(from_pickle),
        "a default argument": by_bytes(by_default),
        "functools.partial": by_bytes(partial),
        "an attribute of a class": by_bytes(Holder.loads),
        "pickle.Unpickler": by_class(pickle.Unpickler),
        "_pickle.Unpickler": by_class(_pickle.Unpickler),
        "a subclass": by_class(Plain),
        "a subclass with find_class": by_class(Asks),
        "a subclass with find_class alone": by_class(Alone),
        "a subclass with persistent_load": by_class(Persistent),
        "pickle._load": by_file(pickle._load),
        "pickle._loads": by_bytes(pickle._loads),
        "pickle._Unpickler": by_class(pickle._Unpickler),
        "a subclass of _Unpickler": by_class(Python),
        "joblib.load of a path": of_joblib,
        "joblib.load, compressed": lambda name, obj: of_joblib(name, obj, compress=3),
        "joblib.load of a file": of_joblib_file,
        "joblib.numpy_pickle.load": of_memory,
        "numpy.load of npy": of_npy,
        "numpy.load of npz": lambda name, obj: of_npy(name, obj, lambda path, array: np.savez(path, array), ".npz"),
        "numpy.load of a pickle": of_file(np.load, allow_pickle=True),
        "pandas.read_pickle": lambda name, obj: pd.read_pickle(written(f"{name}.pkl", obj)),
        "pandas.read_pickle of gzip": lambda name, obj: (
            pd.to_pickle(obj, FOLDER / f"{name}.gz"),
            pd.read_pickle(FOLDER / f"{name}.gz"),
        )[1],
        "dill.loads": by_bytes(dill.loads),
        "dill.load": by_file(dill.load),
        "cloudpickle.loads": by_bytes(cloudpickle.loads),
        "cloudpickle.load": by_file(cloudpickle.load),
        "shelve": of_shelf,
        "multiprocessing.Pipe": of_pipe,
        "multiprocessing.SimpleQueue": of_queue,
        "ForkingPickler.loads": by_bytes(multiprocessing.reduction.ForkingPickler.loads),
        "protocol 0": of_python_2,
        "protocol 0, names of Python 2": of_python_2_unjudged,
    }


def tried(name, way):
    slug = "".join(char if char.isalnum() else "_" for char in name)
    outcome = {}
    try:
        outcome["benign"] = way(f"good-{slug}", BENIGN) == BENIGN
    except Exception as error:
        outcome["benign"] = f"{type(error).__name__}: {error}"
    try:
        way(f"bad-{slug}", Hostile(slug))
        outcome["error"] = ""
    except Exception as error:
        outcome["error"] = f"{type(error).__name__}: {error}"
    outcome["ran"] = (FOLDER / f"ran-{slug}").exists()
    return outcome


def main():
    if HOOK == "fickling-before":
        import fickling.hook

        fickling.hook.run_hook()
    if WHEN == "early":
        guard()
    table = ways()
    if WHEN == "late":
        guard()
    if HOOK == "fickling-after":
        import fickling.hook

        fickling.hook.run_hook()
    results = {name: tried(name, way) for name, way in table.items()}
    import safeload.guard

    status = safeload.guard.status()
    sys.stdout.write(
        json.dumps({"results": results, "covered": status.covered, "never": status.never, "early": status.bound_early})
    )


main()
