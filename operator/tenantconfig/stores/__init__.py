"""Where values are kept: one protocol (base), one module for each kind of store."""
