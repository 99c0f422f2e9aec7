"""Allow the classes of an application: learn a policy from good artifacts, review it, keep it in a file.

Run it with ``python examples/own_classes.py``.
"""

import sys
import tempfile
from pathlib import Path

import safeload

APPLICATION = """
class Rectangle:
    def __init__(self, width, height):
        self.width, self.height = width, height

class Circle:
    def __init__(self, radius):
        self.radius = radius
"""


def main() -> None:
    """Learn from one artifact; another one that needs more is refused."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shapes.py").write_text(APPLICATION)
        sys.path.insert(0, name)
        import shapes

        known_good = folder / "known-good.pkl"
        safeload.dump([shapes.Rectangle(2, 3)], known_good)
        policy = safeload.Policy.learn([known_good])
        (folder / "safeload.toml").write_text(policy.to_toml())
        print(policy.to_toml())

        policy = safeload.Policy.from_file(folder / "safeload.toml")
        print([shape.width for shape in safeload.load(known_good, policy=policy)])
        safeload.dump([shapes.Circle(1)], folder / "other.pkl")
        try:
            safeload.load(folder / "other.pkl", policy=policy)
        except safeload.PolicyError as error:
            print(f"refused: {error.report.findings[0].evidence}")


if __name__ == "__main__":
    main()
