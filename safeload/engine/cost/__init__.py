"""What a traced stream would cost the process that loads it: hashing, depth, expansion."""
