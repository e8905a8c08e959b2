"""Vector stores that run in this process or on loopback, each with its quantisation switched on."""
