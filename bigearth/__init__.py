"""The science: from satellite pixels to a scored classifier. Knows no scheduler and no ReFrame."""

VERSION = "0.2.0"
