"""Programs that measure the science and our own code; no check launches them."""
