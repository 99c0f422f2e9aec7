"""What runs on the other side of the wall: the zygote, which makes jailed processes, and what they do.

Rule: nothing here is given keys, environment or open files of the program that uses it, and nothing here is believed by it.
"""
