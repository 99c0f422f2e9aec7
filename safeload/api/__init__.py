"""What a program calls: the loader, the process default, pickle's classes, batches."""
