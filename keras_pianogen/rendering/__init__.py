"""Notes as files, pictures and sound."""
