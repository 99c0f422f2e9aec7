"""safeload where other libraries store or send objects: Celery, Django, joblib, diskcache, cachelib, aiocache, Flask, MLflow, skops.

Each module imports its library, and nothing but that module does; ``pip install safeload[django]`` and so on bring a version that
works. Rules: what is read is judged by the loader's policy, and verified if the loader has keys; a signed value is bound to the
key that it is stored under where the library says which one that is, so that an entry that was moved or swapped is refused;
``on_refused`` says what a refusal is to the program, and is the same everywhere: an error (``"raise"``), or a miss (``"miss"``),
which leaves its events in the trail all the same.
"""

from __future__ import annotations
