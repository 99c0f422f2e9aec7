"""What the Linux kernel takes away from a process, asked for without any library: seccomp, Landlock, limits, identity."""
