"""Wire formats: pure translation between the core's vocabulary and a provider's bytes. No I/O, no clocks."""
