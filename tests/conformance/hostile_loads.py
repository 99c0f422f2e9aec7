"""Load many streams in one process with little memory, and say what each of them took; a test runs this as a program.

Reads a pickled list of streams from the file in its argument. Prints a line for each: its number before it is loaded, and then
the seconds, the megabytes that the process has grown, and what came of it.
"""

from __future__ import annotations

import contextlib
import pickle
import resource
import sys
import time
import warnings
from pathlib import Path

import safeload
from safeload.policy import Policy
from safeload.policy.packs import pack_names

MEMORY = 3 << 30


def main(path: str) -> None:
    """Load each stream, and look at what comes of it as a program would."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    loader = safeload.Loader(policy=Policy.packs(*pack_names()))
    for number, data in enumerate(pickle.loads(Path(path).read_bytes())):
        print(number, end=" ", flush=True)
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        outcome = "loaded"
        try:
            loaded = loader.loads(data)
        except safeload.SafeloadError:
            outcome = "refused"
        except BaseException as error:
            outcome = f"raised {type(error).__name__}"
        else:
            with contextlib.suppress(Exception):
                repr(loaded)
            del loaded
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
        print(f"{time.process_time() - start:.2f} {grown} {outcome}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
