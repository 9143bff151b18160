"""Where bytes are kept under their digest."""
