"""The science: Sentinel-2 pixels in, a scored land-cover classifier out. Knows nothing of
schedulers or ReFrame."""
